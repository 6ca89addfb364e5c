"""Ask something of every server, and say what became of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import transaction

from models_app.errors import NoWorkerError
from models_app.queue import without_worker
from servers_app import following
from servers_app.errors import ServersError
from servers_app.figures import span
from servers_app.following import Outcome
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.services import request_restart


class Restarts(NamedTuple):
    asked: list[Server]
    refused: list[tuple[Server, str]]  # and why


def wanted() -> list[Server]:
    """Return those that should run."""
    return list(Server.objects.select_related("model").filter(wanted=Wanted.RUNNING))


def running() -> list[Server]:
    """Return those that have a process, so far as is known."""
    return list(Server.objects.select_related("model").filter(state__in=RUNNING))


@transaction.atomic
def request_restart_all(*, who: str = "", why: str = "") -> Restarts:
    """Want every server that should run in a process that is launched after now.

    Raises:
        QueueUnavailableError: (after the commit) the queue did not take the tasks.
    """
    restarts = Restarts([], [])
    for server in wanted():
        try:
            request_restart(server, who=who, why=why)
        except ServersError as error:
            restarts.refused.append((server, str(error)))
        else:
            restarts.asked.append(server)
    return restarts


def nodes_away(servers: Sequence[Server]) -> dict[str, NoWorkerError]:
    """Return the nodes of `servers` that nobody works for.

    Raises:
        NoWorkerError: nobody works for any of them.
        QueueUnavailableError: the broker cannot be reached.
    """
    nodes = {server.node for server in servers}
    away = without_worker(nodes)
    if away and len(away) == len(nodes):
        raise next(iter(away.values()))
    return away


def followed(
    done: str,
    servers: Sequence[Server],
    outcome_of: Callable[[Server], Outcome],
    *,
    away: Mapping[str, NoWorkerError],
    refused: Sequence[tuple[Server, str]] = (),
    wait: float,
) -> tuple[dict[str, Any], bool]:
    """Wait for what was asked of servers, and say what became of it.

    Args:
        done: what has become of one for which it is done: "Restarted".
        away: nodes that nobody works for, whose servers are not waited for.
        refused: those that it could not be asked of, and why.

    Returns:
        message, total_servers, ready_servers and failed; and whether some are on their way.
    """
    began = time.monotonic()
    failed = [_failure(server, why) for server, why in refused]
    failed += [
        _failure(server, f"{away[server.node]} It is done when one is there.")
        for server in servers
        if server.node in away
    ]
    there = [server.pk for server in servers if server.node not in away]
    now = following.wait_for(there, outcome_of, seconds=wait)
    by_outcome: dict[Outcome, list[Server]] = {outcome: [] for outcome in Outcome}
    for server in now:
        by_outcome[outcome_of(server)].append(server)
    failed += [_failure(s, following.failure_text(s)) for s in by_outcome[Outcome.FAILED]]
    failed += [_failure(s, following.overruled_text(s)) for s in by_outcome[Outcome.OVERRULED]]
    pending = by_outcome[Outcome.PENDING]
    total = len(servers) + len(refused)
    took = span(time.monotonic() - began)
    what = "1 server" if total == 1 else f"{total} servers"
    message = f"{done} {len(by_outcome[Outcome.DONE])} of {what} after {took}."
    if not total:
        message = "There was nothing to do: no server runs, or should."
    body = {
        "message": " ".join([message, *map(following.pending_text, pending)]),
        "total_servers": total,
        "ready_servers": sum(server.state == ServerState.READY for server in now),
        "failed": failed,
    }
    return body, bool(pending)


def _failure(server: Server, why: str) -> dict[str, Any]:
    return {
        "model_id": server.model.model_id,
        "node": server.node,
        "replica": server.replica,
        "detail": why,
    }
