import signal
import time
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest
from django.utils import timezone

from profiles_app.models import Profile
from servers_app import services
from servers_app.models import Server, ServerState, Wanted
from servers_app.supervisor import stopping
from tests.conftest import MakeProfile
from tests.servers_app.supervisor.conftest import (
    PATIENCE_S,
    SetMode,
    has_state,
    history,
    in_background,
    is_gone,
    settled,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_server_that_is_not_wanted_any_more_is_stopped(wanted: Server) -> None:
    pid = settled(wanted).pid
    services.request_stop(wanted, who="ada", why="lunch")

    server = settled(wanted)

    assert server.state == ServerState.STOPPED
    assert (server.pid, server.port, server.exit_code) == (None, None, 0)
    assert is_gone(pid)
    last = server.events.first()
    assert last is not None
    assert (last.who, last.why, last.to_state) == ("ada", "lunch", "stopped")


def test_no_keeper_outlives_its_server(wanted: Server) -> None:
    keeper_pid = settled(wanted).keeper_pid
    services.request_stop(wanted)

    settled(wanted)

    assert is_gone(keeper_pid)


def test_a_stop_during_the_load_works(wanted: Server, stand_in: SetMode) -> None:
    stand_in("silent")
    thread = in_background(wanted)
    until(has_state(wanted, ServerState.STARTING))

    services.request_stop(wanted)
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert wanted.state == ServerState.STOPPED
    assert wanted.pid is None


def test_a_server_that_ignores_sigterm_is_killed(
    wanted: Server, stand_in: SetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "STOP_GRACE_S", 0.2)
    stand_in("stubborn")
    settled(wanted)
    services.request_stop(wanted)

    server = settled(wanted)

    assert server.state == ServerState.STOPPED
    assert server.exit_code == -signal.SIGKILL


def test_a_stop_takes_all_processes_of_the_server(wanted: Server, stand_in: SetMode) -> None:
    stand_in("parent")
    family = psutil.Process(settled(wanted).pid).children(recursive=True)
    assert family
    services.request_stop(wanted)

    settled(wanted)

    assert all(is_gone(process.pid) for process in family)


def test_requests_in_flight_are_let_finish(
    wanted: Server, stand_in: SetMode, finish: Callable[[], None]
) -> None:
    stand_in("busy")
    settled(wanted)
    services.request_stop(wanted)
    thread = in_background(wanted)
    until(lambda: bool(Server.objects.filter(pk=wanted.pk, note__contains="1 in flight")))
    assert has_state(wanted, ServerState.STOPPING)()

    finish()
    thread.join(PATIENCE_S)

    assert has_state(wanted, ServerState.STOPPED)()


def test_requests_in_flight_have_so_long_and_no_longer(
    wanted: Server, stand_in: SetMode, make_profile: MakeProfile
) -> None:
    make_profile("brief", is_active=True, drain_seconds=0)
    stand_in("busy")
    settled(wanted)
    services.request_stop(wanted)

    assert settled(wanted).state == ServerState.STOPPED


def test_a_stop_at_once_waits_for_nothing(wanted: Server, stand_in: SetMode) -> None:
    stand_in("busy")
    settled(wanted)
    services.request_stop(wanted, at_once=True)

    assert settled(wanted).state == ServerState.STOPPED


def test_a_stop_at_once_ends_a_drain_that_is_under_way(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("busy")
    settled(wanted)
    services.request_stop(wanted)
    thread = in_background(wanted)
    until(lambda: bool(Server.objects.filter(pk=wanted.pk, note__contains="1 in flight")))

    services.request_stop(wanted, at_once=True)
    thread.join(PATIENCE_S)

    assert has_state(wanted, ServerState.STOPPED)()


def test_a_server_wanted_again_while_it_drains_goes_on(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("busy")
    pid = settled(wanted).pid
    services.request_stop(wanted)
    thread = in_background(wanted)
    until(has_state(wanted, ServerState.STOPPING))

    services.request_start(wanted.model)
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert (wanted.state, wanted.pid) == (ServerState.READY, pid)
    assert history(wanted)[-2:] == [("ready", "stopping"), ("stopping", "ready")]


def test_a_stop_that_was_cut_off_is_carried_on(wanted: Server) -> None:
    pid = settled(wanted).pid
    services.request_stop(wanted)
    Server.objects.filter(pk=wanted.pk).update(state=ServerState.STOPPING, drain_until=None)

    assert settled(wanted).state == ServerState.STOPPED
    assert is_gone(pid)


def test_a_failed_server_can_be_stopped(wanted: Server, stand_in: SetMode) -> None:
    stand_in("die")
    assert settled(wanted).state == ServerState.FAILED

    services.request_stop(wanted)

    assert settled(wanted).state == ServerState.STOPPED


def test_a_restart_ends_the_process_and_launches_another(wanted: Server) -> None:
    first = settled(wanted).pid

    services.request_restart(wanted)
    second = settled(wanted).pid

    assert wanted.state == ServerState.READY
    assert is_gone(first)
    assert first != second == settled(wanted).pid


# -- idle


@pytest.fixture
def short_lived(make_profile: MakeProfile) -> Profile:
    return make_profile("short-lived", is_active=True, idle_ttl_seconds=60)


def used(server: Server, seconds_ago: float) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    Server.objects.filter(pk=server.pk).update(last_used_at=at, ready_at=at)


def test_a_server_that_nobody_uses_is_stopped_and_the_next_request_starts_it(
    wanted: Server, short_lived: Profile
) -> None:
    settled(wanted)
    used(wanted, 61)

    server = settled(wanted)

    assert server.state == ServerState.STOPPED
    assert (server.wanted, server.on_request) == (Wanted.STOPPED, True)
    assert (server.asked_by, server.asked_why) == ("idle", "no request for 60 s")


def test_a_server_that_was_used_lately_stays(wanted: Server, short_lived: Profile) -> None:
    pid = settled(wanted).pid
    used(wanted, 59)

    assert (settled(wanted).state, wanted.pid) == (ServerState.READY, pid)


def test_a_busy_server_is_not_idle(
    wanted: Server, short_lived: Profile, stand_in: SetMode
) -> None:
    stand_in("busy")
    settled(wanted)
    used(wanted, 61)

    assert settled(wanted).state == ServerState.READY
    assert wanted.last_used_at is not None
    assert timezone.now() - wanted.last_used_at < timedelta(seconds=30)


def test_a_request_that_comes_while_an_idle_server_drains_keeps_it(
    wanted: Server, short_lived: Profile
) -> None:
    pid = settled(wanted).pid
    used(wanted, 61)
    thread = in_background(wanted)
    until(has_state(wanted, ServerState.STOPPING))

    # What a request does: see demand.py.
    Server.objects.filter(pk=wanted.pk).update(
        wanted=Wanted.RUNNING, last_used_at=timezone.now()
    )
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert (wanted.state, wanted.pid) == (ServerState.READY, pid)


def test_a_request_that_comes_after_the_signal_gets_a_new_process(
    wanted: Server, short_lived: Profile, stand_in: SetMode
) -> None:
    stand_in("slow to go")
    pid = settled(wanted).pid
    used(wanted, 61)
    thread = in_background(wanted)
    until(lambda: has_state(wanted, ServerState.STOPPING)() and _is_signalled(wanted))

    Server.objects.filter(pk=wanted.pk).update(
        wanted=Wanted.RUNNING, last_used_at=timezone.now()
    )
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY
    assert wanted.pid != pid


def _is_signalled(server: Server) -> bool:
    return Server.objects.filter(pk=server.pk, drain_until=None).exists()


def test_the_restart_of_a_busy_server_waits_for_its_requests(
    wanted: Server, stand_in: SetMode, finish: Callable[[], None]
) -> None:
    stand_in("busy")
    pid = settled(wanted).pid
    services.request_restart(wanted)
    thread = in_background(wanted)
    until(lambda: bool(Server.objects.filter(pk=wanted.pk, note__contains="1 in flight")))
    time.sleep(0.2)
    assert not is_gone(pid)

    finish()
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY
    assert wanted.pid != pid
