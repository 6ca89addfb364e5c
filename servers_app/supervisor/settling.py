"""Compare what is with what is wanted, and take the next step."""

import time
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from models_app.locks import node_lock
from profiles_app.models import Profile
from profiles_app.services import active_profile
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.restarts import MAX_DELAY_S
from servers_app.supervisor import ending, row, starting, stopping, sweeping, watching

SWEEP_PERIOD_S = 60.0
LONGEST_PAUSE = timedelta(seconds=2 * MAX_DELAY_S)
UP = (ServerState.READY, ServerState.UNHEALTHY)

_swept_at = float("-inf")  # monotonic, seconds; of this process


def reconcile(node: str) -> list[int]:
    """Return the servers of `node` that have to be settled; at times, sweep before.

    The only recovery path: after a crash of the worker, the web server, the broker or the
    machine, the next pass puts things right. One pass at a time on a node.
    """
    global _swept_at  # noqa: PLW0603 - each worker process sweeps when it begins
    with node_lock("reconcile") as held:
        if not held:
            return []
        now = time.monotonic()
        if now - _swept_at >= SWEEP_PERIOD_S:
            _swept_at = now
            sweeping.sweep(node)
        return unsettled(node)


def unsettled(node: str) -> list[int]:
    """Return the servers of `node` for which there is something to do now."""
    now = timezone.now()
    profile = active_profile() or Profile()
    # What is to stop comes first: of a node that was lost, others may have it by now.
    not_at_rest = _of(node).filter(_not_at_rest(now)).order_by("-wanted", "pk")
    to_do = list(not_at_rest.values_list("pk", flat=True))
    up = _of(node).filter(state__in=UP, wanted=Wanted.RUNNING).defer("argv", "log_tail")
    well: list[int] = []
    for server in up:
        if server.is_restart_due or not row.is_alive(server):
            to_do.append(server.pk)
        elif watching.is_due(server, profile, now):
            is_idle = watching.is_idle(server, profile, now)
            kept = to_do if is_idle or not watching.is_well(server) else well
            kept.append(server.pk)
    # All at once: of fifty servers that idle, a task for each would cost much more.
    still = Server.objects.filter(pk__in=well, state=ServerState.READY)
    still.update(health_at=now, progressed_at=now)
    return to_do


def _of(node: str) -> QuerySet[Server]:
    return Server.objects.filter(node=node)


def _not_at_rest(now: datetime) -> Q:
    """Which rows say of themselves that they have to be settled."""
    failed = Q(state=ServerState.FAILED)
    return (
        Q(state__in=(ServerState.STARTING, ServerState.STOPPING))
        | Q(wanted=Wanted.RUNNING, state=ServerState.STOPPED)
        | Q(wanted=Wanted.STOPPED) & ~Q(state=ServerState.STOPPED)
        | failed & Q(requested_at__gt=F("stopped_at"))
        | failed & (Q(next_start_at__lte=now) | Q(next_start_at__gt=now + LONGEST_PAUSE))
    )


def settle(server_id: int) -> float | None:
    """Bring one server to what is wanted of it, and return when it is there.

    Returns at once when another call is at it. That one looks again before it
    leaves, so what is wanted now is not missed.

    Returns:
        in how many seconds it is to be settled again; None: when reconcile says so.
    """
    while True:
        with node_lock(f"server-{server_id}") as held:
            if not held:
                return None
            server = row.load(server_id)
            if server is None:
                return None
            _step(server)
        server = row.load(server_id)
        if server is None:
            return None
        if _is_settled(server):
            return _pause(server)


def _is_settled(server: Server) -> bool:
    if server.wanted == Wanted.STOPPED:
        return server.state == ServerState.STOPPED
    if server.state == ServerState.FAILED:
        return not _is_to_be_started(server)
    if server.is_restart_due:
        return False
    return server.state in UP


def _is_to_be_started(server: Server) -> bool:
    """Whether one that failed is tried again now."""
    return server.is_asked_again or (server.next_start_at is not None and not _pause(server))


def _pause(server: Server) -> float | None:
    if server.wanted == Wanted.STOPPED or server.next_start_at is None:
        return None
    pause = server.next_start_at - timezone.now()
    # A longer one is of a clock that was ahead.
    return max(0.0, pause.total_seconds()) if pause <= LONGEST_PAUSE else 0.0


def _step(server: Server) -> None:
    if server.wanted == Wanted.STOPPED:
        stopping.stop(server)
        return
    if server.state == ServerState.STARTING and server.pid is None:
        starting.start(server)  # whoever launched it died before it could say so
        return
    if server.state in RUNNING and not row.is_alive(server):
        ending.gone(server)
        return
    if server.state in RUNNING and server.is_restart_due:
        stopping.stop(server)  # what is wanted has not changed: the next step starts it
        return
    match server.state:
        case ServerState.STOPPED:
            starting.start(server)
        case ServerState.FAILED:
            _try_again(server)
        case ServerState.STARTING:
            starting.wait_until_ready(server)
        case ServerState.STOPPING:  # wanted again before it was gone
            stopping.stop(server)
        case _:
            watching.look(server, active_profile() or Profile())


def _try_again(server: Server) -> None:
    if not _is_to_be_started(server):
        return
    if not server.is_asked_again:
        row.write(server, restarts=F("restarts") + 1)
    starting.start(server)
