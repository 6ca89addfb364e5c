"""Look after a server that runs: whether it answers, whether its work moves, whether it idles.

/health alone says 200 for a server whose every request hangs, so the work it has in hand
must move, too (https://github.com/NousResearch/hermes-agent/issues/104070).
"""

import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from models_app.clock import now_after
from profiles_app.models import Profile
from servers_app import logs, probe
from servers_app.exits import Cause, Ending
from servers_app.keys import server_key
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from servers_app.supervisor import ending, room, row, stopping

IDLE = "idle"  # who has stopped a server that nobody used
CHANCE_POLL_S = 0.25
BRIEF_S = 0.2
AWAY = timedelta(seconds=20)  # four looks that did not come


def look(server: Server, profile: Profile) -> None:
    """Write down how a ready or unhealthy server is, and act on it."""
    logs.rotate(server.pk)
    if server.host and server.host != row.host():
        _follow_address(server, profile)
        return
    port, key, host = row.port_of(server), server_key(server.pk), row.host()
    answer = probe.health(port, host=host)
    work = probe.activity(port, key, host=host) if answer == probe.Health.READY else None
    if work is not None and work.is_key_refused:
        _start_anew(server)
        return
    now = timezone.now()
    is_busy = work is not None and work.requests > 0
    seen: dict[str, object] = {"health_at": now}
    was_away = _was_away(server, profile, now)
    if not _is_stuck(server, answer, work) or was_away:
        seen["progressed_at"] = now
    if work is not None:
        seen["facts"] = {**server.facts, "progress": work.progress, "in_flight": work.requests}
    if is_busy or was_away or (server.last_used_at is not None and server.last_used_at > now):
        # Nobody can tell for how long it was idle while the clock jumped: from now on.
        seen["last_used_at"] = now
    row.write(server, **seen)
    stuck_s = (now - (server.progressed_at or now)).total_seconds()
    if stuck_s > settings.MODEL_WEDGE_TIMEOUT:
        _restart_wedged(server, profile, stuck_s, answer)
        return
    if answer == probe.Health.READY:
        row.move(server, ServerState.READY, why="it answers again")
        room.measure(server)
        if not is_busy:
            _stop_if_idle(server, profile, now)
    else:
        row.move(server, ServerState.UNHEALTHY, why=f"/health: {answer}")


def is_well(server: Server) -> bool:
    """Whether a ready server, asked briefly, is as it was when it was last looked at.

    So most of them are, most of the time; what is otherwise takes a whole look.
    """
    port, host = row.port_of(server), row.host()
    if server.state != ServerState.READY or server.facts.get("in_flight"):
        return False
    if probe.health(port, host=host, timeout=BRIEF_S) != probe.Health.READY:
        return False
    work = probe.activity(port, server_key(server.pk), host=host, timeout=BRIEF_S)
    if work is None:
        return True  # its build does not tell
    is_unused = not work.requests and work.progress == server.facts.get("progress")
    return is_unused and not work.is_key_refused


def is_due(server: Server, profile: Profile, now: datetime) -> bool:
    """Whether a server that is ready or unhealthy must be looked at now."""
    if server.state == ServerState.UNHEALTHY or server.health_at is None:
        return True
    if server.health_at > now:
        return True  # by a clock that was ahead
    if server.facts.get("in_flight"):
        return True  # what it has in hand must be seen to move
    if now - server.health_at >= timedelta(seconds=profile.health_check_interval):
        return True
    return is_idle(server, profile, now)


def is_idle(server: Server, profile: Profile, now: datetime) -> bool:
    """Whether nobody has used a server for as long as the profile allows."""
    if profile.idle_ttl_seconds is None:
        return False
    used = [at for at in (server.last_used_at, server.ready_at) if at is not None]
    return bool(used) and now - max(used) > timedelta(seconds=profile.idle_ttl_seconds)


def _is_stuck(server: Server, answer: probe.Health, work: probe.Activity | None) -> bool:
    """Whether it is as it was when it was last looked at, and should not be.

    The first look at a trouble does not count: nobody knows when it began.
    """
    if answer != probe.Health.READY:
        return server.state == ServerState.UNHEALTHY
    if work is None or not work.requests or not server.facts.get("in_flight"):
        return False
    return bool(server.facts.get("progress") == work.progress)


def _was_away(server: Server, profile: Profile, now: datetime) -> bool:
    """Whether nobody could look at it for long, as on a node that was cut off; or the clock
    jumped, which looks the same.

    Its work may have halted because nobody took it; from now on it must move again.
    """
    longest = AWAY + timedelta(seconds=profile.health_check_interval)
    return server.health_at is not None and now - server.health_at > longest


def _start_anew(server: Server) -> None:
    """End a server that nobody can use: its key came of another SECRET_KEY."""
    stopping.end_process(server)
    row.move(
        server,
        ServerState.STOPPED,
        why="it has the key of another SECRET_KEY",
        stopped_at=timezone.now(),
        **row.no_process(),
    )


def _follow_address(server: Server, profile: Profile) -> None:
    """Have a server launched anew that listens where its node was reached before."""
    now = timezone.now()
    why = f"it listens on {server.host}, and its node is reached at {row.host()} now"
    row.remark(server, f"{why}: it is started anew")
    Server.objects.filter(pk=server.pk).update(
        restart_requested_at=now_after(server.launched_at),
        requested_at=now,
        drain_until=now + timedelta(seconds=profile.drain_seconds),
        asked_by=row.SUPERVISOR,
        asked_why=why,
    )


def _stop_if_idle(server: Server, profile: Profile, now: datetime) -> None:
    """Want an idle server stopped, unless a request has come since; the next starts it."""
    if not is_idle(server, profile, now) or profile.idle_ttl_seconds is None:
        return
    unused = Q(last_used_at=None) | Q(
        last_used_at__lt=now - timedelta(seconds=profile.idle_ttl_seconds)
    )
    why = f"no request for {profile.idle_ttl_seconds} s"
    # Once, in the database: a request that is noted before this is served by the process
    # that runs; one that comes after it wants the server again.
    stopped = Server.objects.filter(unused, pk=server.pk, wanted=Wanted.RUNNING).update(
        wanted=Wanted.STOPPED,
        on_request=True,
        requested_at=now,
        asked_by=IDLE,
        asked_why=why,
        drain_until=now + timedelta(seconds=profile.drain_seconds),
    )
    if stopped:
        ServerEvent.objects.create(
            server=server,
            kind=ServerEvent.Kind.WANTED,
            who=IDLE,
            why=why,
            from_state=Wanted.RUNNING,
            to_state=Wanted.STOPPED,
        )


def _restart_wedged(
    server: Server, profile: Profile, stuck_s: float, answer: probe.Health
) -> None:
    """End a server that does not get on, after its requests were given their chance."""
    if answer == probe.Health.READY:
        why = f"It is busy, but no token has moved for {stuck_s:.0f} s."
    else:
        why = f"It runs, but has not answered for {stuck_s:.0f} s."
    row.move(server, ServerState.UNHEALTHY, why=why)
    if server.drain_until is None:
        until = timezone.now() + timedelta(seconds=profile.drain_seconds)
        row.write(server, drain_until=until)
    if _gets_on_again(server):
        row.move(server, ServerState.READY, why="its work moves again", drain_until=None)
        return
    stopping.end_process(server)
    ending.conclude(server, Ending(Cause.WEDGED, why, is_permanent=False))


def _gets_on_again(server: Server) -> bool:
    """Wait for a sign of life until the requests have had their time."""
    before = server.facts.get("progress")
    while server.drain_until is not None and timezone.now() < server.drain_until:
        if not row.is_alive(server):
            return False
        work = probe.activity(row.port_of(server), server_key(server.pk), host=row.host())
        if work is not None and (work.requests == 0 or work.progress != before):
            return True
        if not row.is_wanted_as_it_is(server):
            return False
        time.sleep(CHANCE_POLL_S)
    return False
