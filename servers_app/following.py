"""Follow what was asked of servers, until it is done or cannot be.

Whoever asks reads what has become of it from the rows; the worker writes them.
"""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from enum import Enum, auto
from typing import Any

from django.utils import timezone

from servers_app import logs
from servers_app.figures import name_of, span, title_of
from servers_app.keys import server_key
from servers_app.lookup import is_here
from servers_app.models import RUNNING, Server, ServerState, Wanted

POLL_S = 0.05
TOLD_LINES = 20  # of a log, in an answer that says why a start failed
WHEN_BACK = "What you asked for is written down, and is done when it is back."
ANSWERING = (ServerState.READY, ServerState.UNHEALTHY)


class Outcome(Enum):
    PENDING = auto()
    DONE = auto()
    FAILED = auto()
    OVERRULED = auto()  # somebody has asked for the opposite since


def start_outcome(server: Server) -> Outcome:
    """Return what has become of a start or a restart.

    A failure is the answer to it when it came afterwards, and even if the worker will try
    again by itself.
    """
    if server.wanted == Wanted.STOPPED:
        return Outcome.OVERRULED
    if server.state == ServerState.FAILED:
        return Outcome.PENDING if server.is_asked_again else Outcome.FAILED
    if server.state in ANSWERING and not server.is_restart_due:
        return Outcome.DONE
    return Outcome.PENDING


def stop_outcome(server: Server) -> Outcome:
    if server.wanted == Wanted.RUNNING:
        return Outcome.OVERRULED
    return Outcome.PENDING if server.state in RUNNING else Outcome.DONE


def watch(
    server_ids: Collection[int],
    outcome_of: Callable[[Server], Outcome],
    *,
    seconds: float = math.inf,
) -> Iterator[list[Server]]:
    """Yield the servers every 50 ms, until none is PENDING or the time is over.

    One whose row is removed meanwhile is not among them any more.
    """
    deadline = time.monotonic() + seconds
    while True:
        # A model's metadata, its chat template among them, are of no use here.
        servers = list(
            Server.objects.select_related("model")
            .defer("model__metadata", "log_tail")
            .filter(pk__in=server_ids)
        )
        yield servers
        is_over = all(outcome_of(server) != Outcome.PENDING for server in servers)
        if is_over or time.monotonic() >= deadline:
            return
        time.sleep(POLL_S)


def wait_for(
    server_ids: Collection[int], outcome_of: Callable[[Server], Outcome], *, seconds: float
) -> list[Server]:
    """Return the servers as they are when none is PENDING, or when the time is over."""
    return deque(watch(server_ids, outcome_of, seconds=seconds), maxlen=1).pop()


# -- what is told of it


def start_answer(server: Server, *, ran_already: bool) -> dict[str, Any]:
    """Return what a start that is DONE is answered with."""
    seconds = 0.0
    if not ran_already and server.ready_at and server.launched_at:
        seconds = (server.ready_at - server.launched_at).total_seconds()
    if server.state == ServerState.UNHEALTHY:
        message = (
            f"{title_of(server)} runs at port {server.port}, but does not answer as it should. "
            "Restart it if that lasts."
        )
    elif ran_already:
        message = f"{title_of(server)} runs already, at port {server.port}."
    else:
        message = f"{title_of(server)} is ready at port {server.port} after {span(seconds)}."
    return {
        "message": message,
        **_names(server),
        "port": server.port,
        "status": "already_running" if ran_already else "started",
        "startup_time_seconds": round(seconds, 2),
    }


def stop_answer(server: Server, *, was_running: bool) -> dict[str, Any]:
    """Return what a stop that is DONE is answered with."""
    seconds = 0.0
    if was_running and server.requested_at and server.stopped_at:
        seconds = max(0.0, (server.stopped_at - server.requested_at).total_seconds())
    became = f"stopped after {span(seconds)}" if was_running else "was not running"
    return {
        "message": f"{title_of(server)} {became}.",
        **_names(server),
        "status": "stopped" if was_running else "not_running",
        "shutdown_time_seconds": round(seconds, 2),
    }


def pending_text(server: Server) -> str:
    """Return a sentence on what a server that is not there yet does or waits for."""
    if server.note:
        return f"{title_of(server)} is {server.state}: {server.note.rstrip('.')}."
    return f"{title_of(server)} is {server.state}, and wanted {server.wanted}."


def overruled_text(server: Server) -> str:
    who = server.asked_by or "Somebody"
    why = f" ({server.asked_why})" if server.asked_why else ""
    return f"{who} has asked for {title_of(server)} to be {server.wanted} meanwhile{why}."


def failure_text(server: Server, *, lines: int = TOLD_LINES) -> str:
    """Return why a server failed, how it ended, what comes next, and how its log ended."""
    parts = [f"{name_of(server)} failed. {server.last_error or 'It left no reason.'}"]
    parts += filter(None, (exit_text(server), next_text(server)))
    if tail := _end_of_last_launch(server, lines):
        parts.append(f"The last lines of its log:\n{tail}")
    return without_key("\n".join(parts), server)


def exit_text(server: Server) -> str:
    """Return how its process ended: a code, or the signal that ended it."""
    code = server.exit_code
    if code is None:
        return ""
    if code >= 0:
        return f"Its exit code was {code}."
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"It was ended by signal {-code}{name}."


def next_text(server: Server) -> str:
    """Return whether a server that failed is tried again, and when."""
    if server.state != ServerState.FAILED:
        return ""
    if server.next_start_at is None:
        return "It is not tried again by itself: mend that, then start it."
    left_s = (server.next_start_at - timezone.now()).total_seconds()
    at = timezone.localtime(server.next_start_at).isoformat(timespec="seconds")
    when = f"at {at}, in {span(left_s)}" if left_s > 0 else "as soon as its worker comes to it"
    return f"It is tried again {when}."


def last_lines(server: Server, lines: int) -> str:
    """Return the end of its log: of the file while it runs, of the row afterwards."""
    tail = "" if server.state in RUNNING else server.log_tail
    if not tail and is_here(server):
        tail = logs.tail(server.pk, lines)
    return without_key("\n".join(tail.splitlines()[-lines:]), server)


def _end_of_last_launch(server: Server, lines: int) -> str:
    """Return the last lines of a launch that failed; nothing of those before it."""
    if not server.log_tail:
        return ""  # it was refused, and not launched
    text = logs.since_last_launch(server.pk) if is_here(server) else ""
    return "\n".join((text or server.log_tail).splitlines()[-lines:])


def without_key(text: str, server: Server) -> str:
    """Return `text` without the server's API key, should it have written that."""
    return text.replace(server_key(server.pk), "[its key]")


def error_line(server: Server) -> str:
    """Return what its last error begins with, in one line; empty if it had none."""
    return without_key(server.last_error.partition("\n")[0], server)


def _names(server: Server) -> dict[str, Any]:
    return {
        "model_id": server.model.model_id,
        "display_name": server.model.display_name,
        "replica": server.replica,
        "node": server.node,
    }
