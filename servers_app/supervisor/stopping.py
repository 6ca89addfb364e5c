"""End a server: drain, one SIGTERM, SIGKILL after the grace."""

import time
from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from servers_app import launcher, probe, processes
from servers_app.keys import server_key
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.processes import ProcessIdentity
from servers_app.supervisor import row

STOP_GRACE_S = 10.0  # llama-server ends in 0.1 s when idle, in minutes inside a long prompt
KEEPER_GRACE_S = 2.0
GONE_POLL_S = 0.02
DRAIN_POLL_S = 0.05
# Gateways look at the database once a second: a request may still come from one that did
# not see yet that the server is not wanted.
UNSEEN = timedelta(seconds=1.5)
LATELY = timedelta(seconds=5)


def stop(server: Server) -> None:
    """Bring a server to STOPPED, or back to READY if it is wanted again while it drains."""
    if server.state in RUNNING:
        if not _may_end(server):
            return
        end_process(server)
        ended = launcher.read_exit(server.pk, server.pid)
        row.write(server, exit_code=ended.returncode if ended else None)
    row.move(
        server,
        ServerState.STOPPED,
        who=server.asked_by,
        why=server.asked_why,
        stopped_at=timezone.now(),
        last_error="",
        note="",
        failed_at=[],
        next_start_at=None,
        memory_mib=None,
        **row.no_process(),
    )
    # Only if it is still unwanted: somebody who asked meanwhile counts on the port.
    Server.objects.filter(pk=server.pk, wanted=Wanted.STOPPED).update(port=None)


def _may_end(server: Server) -> bool:
    """Drain a server; whether it is still to be ended afterwards.

    That is decided once, in the database: who wants it running before it is undone here,
    keeps the process; who wants it afterwards, has a new one launched.
    """
    was_loading = server.state == ServerState.STARTING
    row.move(server, ServerState.STOPPING, who=server.asked_by, why=server.asked_why, note="")
    if server.drain_until is None:
        return True  # an earlier call has come to the signal, and died
    if not was_loading:
        _drain(server)
    asked = Server.objects.filter(pk=server.pk)
    still = Q(wanted=Wanted.STOPPED) | Q(restart_requested_at__gt=F("launched_at"))
    if asked.filter(still).update(drain_until=None):
        return True
    asked.filter(wanted=Wanted.RUNNING).update(drain_until=None)
    if row.is_alive(server):
        row.move(
            server,
            ServerState.STARTING if was_loading else ServerState.READY,
            who=server.asked_by,
            why="it was wanted again before it was stopped",
            note="",
        )
    return False


def _drain(server: Server) -> None:
    """Wait until nothing is in flight, its time is up, or it is wanted again."""
    came_at, began = timezone.now(), time.monotonic()
    # What was asked by a clock that was ahead does not take longer for it.
    asked_at = min(server.requested_at or came_at, came_at)
    used_at = server.last_used_at
    in_use = server.on_request or (used_at is not None and asked_at - used_at < LATELY)
    seen_at = asked_at + UNSEEN if in_use else asked_at
    while row.is_alive(server):
        now = came_at + timedelta(seconds=time.monotonic() - began)
        server.refresh_from_db(fields=["wanted", "drain_until", "restart_requested_at"])
        is_unwanted = server.wanted == Wanted.STOPPED or server.is_restart_due
        if not is_unwanted or server.drain_until is None or now >= server.drain_until:
            return
        work = probe.activity(row.port_of(server), server_key(server.pk), host=row.host())
        if now >= seen_at and (work is None or not work.requests):
            return
        if work is not None and work.requests:
            left = (server.drain_until - now).total_seconds()
            row.note(server, f"{work.requests} in flight, which may take {left:.0f} s more")
        time.sleep(DRAIN_POLL_S)


def end_process(server: Server) -> None:
    """One SIGTERM, then SIGKILL; return when neither server nor keeper is left."""
    process, keeper = row.identity(server), row.keeper_identity(server)
    if process is not None:
        processes.terminate(process)
        if not is_gone(process, within=STOP_GRACE_S):
            row.remark(server, f"did not end within {STOP_GRACE_S:.0f} s, and was killed")
            processes.kill(process)
            is_gone(process, within=KEEPER_GRACE_S)
    if keeper is not None and not is_gone(keeper, within=KEEPER_GRACE_S):
        processes.kill_group(keeper)
        is_gone(keeper, within=KEEPER_GRACE_S)


def is_gone(identity: ProcessIdentity, *, within: float) -> bool:
    """Wait for a process to end; whether it has."""
    deadline = time.monotonic() + within
    while processes.find(identity) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(GONE_POLL_S)
    return True
