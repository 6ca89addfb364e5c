"""The figures of a server, as people read them."""

import math
from collections.abc import Sequence

from django.utils import timezone

from servers_app.models import RUNNING, Server, ServerEvent, ServerState

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def name_of(server: Server) -> str:
    replica = f" (replica {server.replica})" if server.replica else ""
    return f"{server.model.model_id}{replica}"


def title_of(server: Server) -> str:
    replica = f" (replica {server.replica})" if server.replica else ""
    return f"{server.model.display_name}{replica}"


def is_running(server: Server) -> bool:
    """Whether it has a process, as far as the database knows."""
    return server.state in RUNNING and server.pid is not None


def uptime_s(server: Server) -> int | None:
    """Return how long its process has run, in whole seconds; None if none runs."""
    if not is_running(server) or server.launched_at is None:
        return None
    return max(0, int((timezone.now() - server.launched_at).total_seconds()))


def uptime(server: Server) -> str:
    seconds = uptime_s(server)
    return "-" if seconds is None else span(seconds)


def span(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> span(0.423), span(1.96), span(59), span(3725), span(200000)
    ('0.42 s', '2 s', '59 s', '1 h 2 min', '2 d 7 h')
    """
    if seconds < 10:
        return f"{round(seconds, 2 if seconds < 1 else 1):g} s"
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S} s"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def milliseconds(ms: float | None) -> str:
    """Return a span of milliseconds.

    >>> milliseconds(0.42), milliseconds(12.3), milliseconds(3210), milliseconds(None)
    ('0.4 ms', '12 ms', '3.2 s', '-')
    """
    if ms is None:
        return "-"
    if ms >= 1000:
        return span(ms / 1000)
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def percentile(values: Sequence[float], part: int) -> float:
    """Return the smallest of `values` that `part` percent of them do not exceed.

    >>> percentile([3, 1, 2, 4], 50), percentile([7], 95)
    (2, 7)
    """
    ranked = sorted(values)
    return ranked[math.ceil(len(ranked) * part / 100) - 1]


def memory(server: Server) -> str:
    """Return the MiB that were counted for it, and those that it has been seen to take."""
    mib = (server.memory_mib, server.peak_mib)
    if mib == (None, None):
        return "-"
    return " / ".join("?" if each is None else f"{each:,}" for each in mib)


def loaded_percent(server: Server) -> int | None:
    """Return how much of its model a starting server has loaded; None if nobody knows."""
    if server.state != ServerState.STARTING or server.load_progress is None:
        return None
    return round(100 * server.load_progress)


def at(event: ServerEvent) -> str:
    """Return when it happened, in MAGI_TIME_ZONE, to the second."""
    return f"{timezone.localtime(event.at):%Y-%m-%d %H:%M:%S}"


def what_happened(event: ServerEvent) -> str:
    """Return the states that an event lies between; "-" for one that only has a reason."""
    if not event.to_state:
        return "-"
    verb = "wanted " if event.kind == ServerEvent.Kind.WANTED else ""
    if not event.from_state:
        return f"{verb}{event.to_state}"
    return f"{verb}{event.from_state} → {event.to_state}"
