"""What calls for servers are answered with: done, on its way, failed, or overruled."""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response

from servers_app import following
from servers_app.figures import span
from servers_app.following import Outcome
from servers_app.lookup import find_server
from servers_app.models import RUNNING, Server
from servers_app.serializers import ServerSerializer


def when_started(server: Server, wait: float, *, ran_already: bool) -> Response:
    (server,) = rows_after([server.pk], following.start_outcome, wait)
    match following.start_outcome(server):
        case Outcome.DONE:
            return Response(following.start_answer(server, ran_already=ran_already))
        case Outcome.FAILED:
            detail = following.failure_text(server)
            return Response({"detail": detail}, status=status.HTTP_502_BAD_GATEWAY)
        case Outcome.OVERRULED:
            return overruled(server)
        case _:
            return accepted(server)


def rows_after(
    server_ids: Collection[int], outcome_of: Callable[[Server], Outcome], wait: float
) -> list[Server]:
    servers = following.wait_for(server_ids, outcome_of, seconds=wait)
    if not servers:
        msg = "The server was removed meanwhile, with its model."
        raise NotFound(msg)
    return servers


def overruled(server: Server) -> Response:
    detail = following.overruled_text(server)
    return Response({"detail": detail}, status=status.HTTP_409_CONFLICT)


def accepted(server: Server) -> Response:
    """Answer 202: what is to be followed is the server itself, no task."""
    url = reverse("server", args=[server.model.model_id])
    which: dict[str, object] = {"replica": server.replica} if server.replica else {}
    if find_server(server.model, server.replica) != server:
        which["node"] = server.node  # it has been on another one, too
    query = urlencode(which)
    body = {
        "message": following.pending_text(server),
        "task_id": None,
        "status_url": f"{url}?{query}" if query else url,
        **ServerSerializer(server).data,
    }
    return Response(body, status=status.HTTP_202_ACCEPTED)


def all_answer(
    words: tuple[str, str],
    servers: Sequence[Server],
    outcome_of: Callable[[Server], Outcome],
    *,
    failed: list[dict[str, Any]],
    seconds: dict[str, float],
) -> Response:
    """Answer for many: 202 if some are on their way still, else 200, failures named.

    Args:
        failed: those that were not waited for, `servers` being the others.
    """
    verb, key = words
    of: dict[Outcome, list[Server]] = {outcome: [] for outcome in Outcome}
    for server in servers:
        of[outcome_of(server)].append(server)
    done, total = of[Outcome.DONE], len(servers) + len(failed)
    body: dict[str, Any] = {
        "message": f"{verb} {len(done)} of {total} after {span(max(seconds.values()))}.",
        key: len(done),
        "total": total,
        **seconds,
        "models": [
            # One that has stopped gives its port back a moment later.
            named_server(server, port=server.port if server.state in RUNNING else None)
            for server in done
        ],
        "failed": [
            *failed,
            *(named_server(s, detail=following.failure_text(s)) for s in of[Outcome.FAILED]),
            *(
                named_server(server, detail=following.overruled_text(server))
                for server in of[Outcome.OVERRULED]
            ),
        ],
    }
    if not of[Outcome.PENDING]:
        return Response(body)
    body["message"] += " " + " ".join(map(following.pending_text, of[Outcome.PENDING]))
    body |= {"task_id": None, "status_url": reverse("servers")}
    return Response(body, status=status.HTTP_202_ACCEPTED)


def named_server(server: Server, **more: object) -> dict[str, Any]:
    return {
        "model_id": server.model.model_id,
        "display_name": server.model.display_name,
        "replica": server.replica,
        **more,
    }
