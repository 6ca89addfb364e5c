"""How a server ended that nobody stopped: said on its row, and whether it is tried again."""

import time
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from profiles_app.models import Profile
from profiles_app.services import active_profile
from servers_app import launcher, logs, processes
from servers_app.exits import Cause, Ending, explain
from servers_app.models import Server, ServerState
from servers_app.restarts import Again, decide
from servers_app.supervisor import row, stopping

LOG_LINES = 200  # of its log, on the row


def gone(server: Server) -> None:
    """Write down a process that has ended by itself.

    Its keeper wrote how. If nobody did, and the machine was booted since, it went down
    with it and is started anew at once; otherwise it was killed together with its keeper.
    """
    was_ready = server.ready_at is not None
    ended = _await_exit(server)
    if ended is None and server.boot_id != processes.boot_id():
        row.move(
            server,
            ServerState.STOPPED,
            why="the machine was started anew",
            stopped_at=timezone.now(),
            restarts=F("restarts") + 1,
            **row.no_process(),
        )
        return
    if ended is None:
        ending = Ending(
            Cause.KILLED, "It was killed, and its keeper with it.", is_permanent=False
        )
    else:
        ending = explain(
            ended.returncode,
            logs.since_last_launch(server.pk),
            oom_kills=ended.oom_kills,
            was_ready=was_ready,
        )
        row.write(server, exit_code=ended.returncode)
    # A crash that nobody saw for a while was no time of stable work.
    conclude(server, ending, ended_at=ended.ended_at if ended else None)


def conclude(server: Server, ending: Ending, *, ended_at: float | None = None) -> None:
    """Mark a server failed whose process has ended; the restart policy says what follows.

    Args:
        ended_at: Unix time; None for now.
    """
    now = time.time()
    ended_at = now if ended_at is None else ended_at
    profile = active_profile() or Profile()
    ready_at = server.ready_at
    decision = decide(
        profile.restart_policy,
        ending=ending,
        failed_at=server.failed_at,
        now=now,
        ready_seconds=ended_at - ready_at.timestamp() if ready_at else None,
        limit=settings.MODEL_RESTART_LIMIT,
        window_s=settings.MODEL_RESTART_WINDOW,
    )
    again_at, note = None, ""
    reason = ending.sentence
    if isinstance(decision, Again):
        again_at = datetime.fromtimestamp(now, UTC) + timedelta(seconds=decision.delay_s)
        note = f"is started again in {decision.delay_s:.0f} s"
    else:
        reason = decision.why
    is_taken = ending.cause == Cause.PORT_TAKEN
    if is_taken:
        row.remark(
            server, f"port {server.port} was taken by another program; the next is tried"
        )
    row.move(
        server,
        ServerState.FAILED,
        why=reason,
        stopped_at=timezone.now(),
        last_error=reason,
        log_tail=logs.tail(server.pk, lines=LOG_LINES),
        failed_at=list(decision.failed_at),
        next_start_at=again_at,
        note=note,
        # One that is tried again comes back where it was, unless somebody else is there.
        port=None if is_taken or again_at is None else server.port,
        **row.no_process(),
    )


def postpone(server: Server, reason: str, seconds: float) -> None:
    """Mark a server failed that was not launched, for no fault of its own: it is tried again
    for as long as it is wanted.
    """
    now = timezone.now()
    row.move(
        server,
        ServerState.FAILED,
        why=reason,
        stopped_at=now,
        last_error=reason,
        exit_code=None,  # of an earlier launch, as its log
        log_tail="",
        ready_at=None,
        next_start_at=now + timedelta(seconds=seconds),
        note=f"is tried again every {seconds:.0f} s",
        memory_mib=None,
        **row.no_process(),
    )


def refuse(server: Server, reason: str) -> None:
    """Mark a server failed that was not launched; it waits until somebody asks again."""
    row.move(
        server,
        ServerState.FAILED,
        why=reason,
        stopped_at=timezone.now(),
        last_error=reason,
        exit_code=None,  # of an earlier launch, as its log
        log_tail="",
        ready_at=None,
        next_start_at=None,
        note="",
        memory_mib=None,
        port=None,
        **row.no_process(),
    )


def _await_exit(server: Server) -> launcher.Exit | None:
    """Return how it ended; its keeper may still be writing that down."""
    keeper = row.keeper_identity(server)
    if keeper is not None:
        stopping.is_gone(keeper, within=stopping.KEEPER_GRACE_S)
    return launcher.read_exit(server.pk, server.pid)
