"""The calls that show servers, start, stop and restart them."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.errors import NoWorkerError
from models_app.models import DiscoveredModel
from models_app.queue import require_worker, without_worker
from profiles_app.api import author_of
from profiles_app.models import MAX_REPLICAS
from profiles_app.services import require_active_profile
from servers_app import following, server_schema, services
from servers_app.figures import span
from servers_app.following import Outcome
from servers_app.lookup import find_model, find_server, never_started, unknown
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.planning import node_of
from servers_app.serializers import ServerDetailSerializer, ServerSerializer

WHY = "by the API"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class ServerListView(APIView):
    """The servers that run or should run; with `?all=true` those at rest, too."""

    @server_schema.LIST
    def get(self, request: Request) -> Response:
        queryset = Server.objects.select_related("model")
        if not _flag(request, "all"):
            queryset = queryset.exclude(state=ServerState.STOPPED, wanted=Wanted.STOPPED)
        servers = ServerSerializer(queryset, many=True).data
        return Response(
            {
                "total_servers": len(servers),
                "ready_servers": sum(server["is_ready"] for server in servers),
                "servers": servers,
            }
        )


class ServerView(APIView):
    """One server with everything; `?replica=` is for one of several."""

    @server_schema.SHOW
    def get(self, request: Request, model_id: str) -> Response:
        _, server = _model_and_server(request, model_id)
        return Response(ServerDetailSerializer(server).data)


class StartView(APIView):
    """Start a server, and wait until it is ready. One that runs already is left alone."""

    permission = "servers_app.change_server"

    @server_schema.START
    def post(self, request: Request, model_id: str) -> Response:
        wait, replica, model = wait_seconds(request), _replica(request), _model(model_id)
        require_worker(node_of(model))
        before = find_server(model, replica)
        ran_already = before is not None and following.start_outcome(before) == Outcome.DONE
        server = services.request_start(model, replica=replica, who=author_of(request), why=WHY)
        return _when_started(server, wait, ran_already=ran_already)


class RestartView(APIView):
    """Start a server anew, and wait until it is ready. One that does not run is started."""

    permission = "servers_app.change_server"

    @server_schema.RESTART
    def post(self, request: Request, model_id: str) -> Response:
        wait, replica, model = wait_seconds(request), _replica(request), _model(model_id)
        require_worker(node_of(model))
        server, who = find_server(model, replica), author_of(request)
        if server is None:
            server = services.request_start(model, replica=replica, who=who, why=WHY)
        else:
            services.request_restart(server, who=who, why=WHY)
        return _when_started(server, wait, ran_already=False)


class StopView(APIView):
    """Stop a server, and wait until it is gone.

    Requests in flight have the profile's drain_seconds, none with `at_once`.
    """

    permission = "servers_app.change_server"

    @server_schema.STOP
    def post(self, request: Request, model_id: str) -> Response:
        wait, at_once = wait_seconds(request), _at_once(request)
        replica, model = _replica(request), _model(model_id)
        server = find_server(model, replica)
        if server is None:
            answer = following.stop_answer(Server(model=model), was_running=False)
            return Response({**answer, "replica": replica, "node": node_of(model)})
        was_running = server.state in RUNNING
        if was_running:
            require_worker(server.node)
        services.request_stop(server, who=author_of(request), why=WHY, at_once=at_once)
        (server,) = _rows([server.pk], following.stop_outcome, wait)
        match following.stop_outcome(server):
            case Outcome.DONE:
                return Response(following.stop_answer(server, was_running=was_running))
            case Outcome.OVERRULED:
                return _overruled(server)
            case _:
                return _accepted(server)


class StartAllView(APIView):
    """Start every server of the active profile, those for requests, too; wait for all."""

    permission = "servers_app.change_server"

    @server_schema.START_ALL
    def post(self, request: Request) -> Response:
        wait, began = wait_seconds(request), time.monotonic()
        away = _away(_nodes_of_active_profile())
        activation = services.request_start_all(who=author_of(request))
        missing = [
            {"model_id": model_id, "detail": f"No model here has the id {model_id}."}
            for model_id in activation.missing
        ]
        refused = [
            {"model_id": model_id, "detail": why} for model_id, why in activation.refused
        ]
        asked = [server.pk for server in activation.started if server.node not in away]
        servers = following.wait_for(asked, following.start_outcome, seconds=wait)
        seconds = time.monotonic() - began
        return _all_answer(
            ("Started", "started"),
            servers,
            following.start_outcome,
            failed=[*missing, *refused, *_not_reached(activation.started, away)],
            seconds={"startup_time_seconds": round(seconds, 2)},
        )


class StopAllView(APIView):
    """Stop every server, of `?node=` if it is given; wait for all."""

    permission = "servers_app.change_server"

    @server_schema.STOP_ALL
    def post(self, request: Request) -> Response:
        wait, at_once, began = wait_seconds(request), _at_once(request), time.monotonic()
        node = request.query_params.get("node", "")
        running = Server.objects.select_related("model").filter(state__in=RUNNING)
        if node:
            running = running.filter(node=node)
        servers = list(running)  # those that are on their way down already, too
        away = _away({server.node for server in servers})
        servers += services.request_stop_all(
            node, who=author_of(request), why=WHY, at_once=at_once
        )
        there = {server.pk for server in servers if server.node not in away}
        stopped = following.wait_for(there, following.stop_outcome, seconds=wait)
        seconds = time.monotonic() - began
        return _all_answer(
            ("Stopped", "stopped"),
            stopped,
            following.stop_outcome,
            failed=_not_reached(servers, away),
            seconds={
                "startup_time_seconds": 0.0,
                "shutdown_time_seconds": round(seconds, 2),
            },
        )


# -- answers


def _when_started(server: Server, wait: float, *, ran_already: bool) -> Response:
    (server,) = _rows([server.pk], following.start_outcome, wait)
    match following.start_outcome(server):
        case Outcome.DONE:
            return Response(following.start_answer(server, ran_already=ran_already))
        case Outcome.FAILED:
            detail = following.failure_text(server)
            return Response({"detail": detail}, status=status.HTTP_502_BAD_GATEWAY)
        case Outcome.OVERRULED:
            return _overruled(server)
        case _:
            return _accepted(server)


def _rows(
    server_ids: Collection[int], outcome_of: Callable[[Server], Outcome], wait: float
) -> list[Server]:
    servers = following.wait_for(server_ids, outcome_of, seconds=wait)
    if not servers:
        msg = "The server was removed meanwhile, with its model."
        raise NotFound(msg)
    return servers


def _overruled(server: Server) -> Response:
    detail = following.overruled_text(server)
    return Response({"detail": detail}, status=status.HTTP_409_CONFLICT)


def _accepted(server: Server) -> Response:
    """Answer 202: what is to be followed is the server itself, no task."""
    url = reverse("server", args=[server.model.model_id])
    body = {
        "message": following.pending_text(server),
        "task_id": None,
        "status_url": f"{url}?replica={server.replica}" if server.replica else url,
        **ServerSerializer(server).data,
    }
    return Response(body, status=status.HTTP_202_ACCEPTED)


def _all_answer(
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
            _named(server, port=server.port if server.state in RUNNING else None)
            for server in done
        ],
        "failed": [
            *failed,
            *(_named(s, detail=following.failure_text(s)) for s in of[Outcome.FAILED]),
            *(_named(s, detail=following.overruled_text(s)) for s in of[Outcome.OVERRULED]),
        ],
    }
    if not of[Outcome.PENDING]:
        return Response(body)
    body["message"] += " " + " ".join(map(following.pending_text, of[Outcome.PENDING]))
    body |= {"task_id": None, "status_url": reverse("servers")}
    return Response(body, status=status.HTTP_202_ACCEPTED)


def _named(server: Server, **more: object) -> dict[str, Any]:
    return {
        "model_id": server.model.model_id,
        "display_name": server.model.display_name,
        "replica": server.replica,
        **more,
    }


# -- which, and who would do it


def _model(model_id: str) -> DiscoveredModel:
    model = find_model(model_id)
    if model is None:
        raise NotFound(unknown(model_id))
    return model


def _model_and_server(request: Request, model_id: str) -> tuple[DiscoveredModel, Server]:
    replica, model = _replica(request), _model(model_id)
    server = find_server(model, replica)
    if server is None:
        raise NotFound(never_started(model, replica))
    return model, server


def _nodes_of_active_profile() -> set[str]:
    members = require_active_profile().members.values_list("model_id", flat=True)
    models = DiscoveredModel.objects.select_related("root").filter(model_id__in=members)
    return {node_of(model) for model in models}


def _away(nodes: Collection[str]) -> dict[str, NoWorkerError]:
    """Return the nodes that nobody works for.

    Raises:
        NoWorkerError: nobody works for any of them.
        QueueUnavailableError: the broker cannot be reached.
    """
    away = without_worker(nodes)
    if away and len(away) == len(nodes):
        raise next(iter(away.values()))
    return away


def _not_reached(
    servers: Sequence[Server], away: dict[str, NoWorkerError]
) -> list[dict[str, Any]]:
    unreached = {server.pk: server for server in servers if server.node in away}
    return [
        _named(server, detail=f"{away[server.node]} It is done when one is there.")
        for server in unreached.values()
    ]


# -- what is asked


def _replica(request: Request) -> int:
    raw = request.query_params.get("replica", "0")
    if raw in map(str, range(MAX_REPLICAS)):
        return int(raw)
    detail = f"replica={raw} is not a number from 0 to {MAX_REPLICAS - 1}."
    raise ValidationError({"detail": detail})


def _flag(request: Request, name: str) -> bool:
    raw = request.query_params.get(name, "false")
    if raw.lower() not in BOOLEANS:
        raise ValidationError({"detail": f"{name}={raw} is not true or false."})
    return BOOLEANS[raw.lower()]


def _at_once(request: Request) -> bool:
    """Return `at_once` of the body, or else of the query."""
    body = request.data
    if not isinstance(body, dict):
        raise ValidationError({"detail": 'The body is a JSON object: {"at_once": true}.'})
    value = body.get("at_once", _flag(request, "at_once"))
    if not isinstance(value, bool):
        raise ValidationError({"detail": "at_once: it is true or false."})
    return value
