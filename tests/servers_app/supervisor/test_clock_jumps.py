"""A clock that is set: NTP steps it, a VM is resumed, a person sets it. Nothing goes by it."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from servers_app import launcher, probe, services, supervisor
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from servers_app.supervisor import settling
from tests.conftest import MakeProfile, MakeServer
from tests.servers_app.supervisor.conftest import SetMode, settled

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
Jump = Callable[[timedelta], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Return a function that sets the clock: so much from where it would be."""
    real, off = timezone.now, timedelta(0)

    def now() -> datetime:
        return real() + off

    def set_clock(by: timedelta) -> None:
        nonlocal off
        off += by

    monkeypatch.setattr(timezone, "now", now)
    return set_clock


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])
def test_a_server_that_runs_goes_on(
    wanted: Server, jump: Jump, by: timedelta, make_profile: MakeProfile
) -> None:
    make_profile("p", is_active=True, idle_ttl_seconds=600)
    before = settled(wanted)
    pid, events = before.pid, ServerEvent.objects.count()

    for _ in range(2):
        jump(by)
        for _ in range(3):
            for server_id in settling.unsettled("local"):
                supervisor.settle(server_id)
        wanted.refresh_from_db()
        assert (wanted.pid, wanted.state) == (pid, ServerState.READY)
        assert wanted.wanted == Wanted.RUNNING
        by = -by

    assert ServerEvent.objects.count() == events


def test_one_that_nobody_used_before_the_jump_is_idle_from_then_on(
    wanted: Server, jump: Jump, make_profile: MakeProfile
) -> None:
    make_profile("p", is_active=True, idle_ttl_seconds=600)
    settled(wanted)
    jump(DAY)
    settled(wanted)
    assert wanted.wanted == Wanted.RUNNING

    long_ago = timezone.now() - timedelta(seconds=601)
    Server.objects.update(last_used_at=long_ago, ready_at=long_ago)

    settled(wanted)
    assert (wanted.wanted, wanted.asked_by) == (Wanted.STOPPED, "idle")


def test_what_was_used_by_a_clock_that_was_ahead_idles_from_now_on(
    wanted: Server, jump: Jump, make_profile: MakeProfile
) -> None:
    make_profile("p", is_active=True, idle_ttl_seconds=600)
    settled(wanted)
    Server.objects.update(last_used_at=timezone.now() + DAY, health_at=timezone.now() + DAY)

    assert settling.unsettled("local") == [wanted.pk]
    settled(wanted)
    assert wanted.last_used_at is not None
    assert wanted.last_used_at <= timezone.now()


def test_no_pause_before_a_restart_is_as_long_as_a_jump(
    make_server: MakeServer, jump: Jump
) -> None:
    failed = make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        stopped_at=timezone.now(),
        requested_at=timezone.now() - timedelta(minutes=1),
        next_start_at=timezone.now() + timedelta(seconds=30),
    )
    assert settling.unsettled("local") == []

    jump(-DAY)

    assert settling.unsettled("local") == [failed.pk]
    assert settling._is_to_be_started(failed)


def test_who_asks_after_the_clock_was_set_back_is_heard(
    make_server: MakeServer, jump: Jump, stand_in: SetMode
) -> None:
    server = make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        requested_at=timezone.now() - timedelta(minutes=1),
        stopped_at=timezone.now(),
    )
    jump(-DAY)

    services.request_start(server.model, who="ada")

    assert Server.objects.filter(requested_at__gt=F("stopped_at")).exists()
    assert settling.unsettled("local") == [server.pk]


def test_a_restart_is_done_once_however_the_clock_is_set(wanted: Server, jump: Jump) -> None:
    settled(wanted)
    jump(-DAY)
    services.request_restart(wanted)
    wanted.refresh_from_db()
    assert wanted.is_restart_due
    jump(-DAY)

    pid = settled(wanted).pid

    assert not wanted.is_restart_due
    assert settled(wanted).pid == pid
    assert ServerEvent.objects.filter(to_state=ServerState.READY).count() == 2


def test_a_load_is_not_too_long_because_the_clock_jumps(
    wanted: Server, jump: Jump, stand_in: SetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, look = launcher.launch, probe.health
    answers = [probe.Health.LOADING] * 3

    def launch_and_jump(*args: Any) -> bool:
        started = launch(*args)
        monkeypatch.setattr(time, "sleep", lambda seconds: jump(DAY))
        return started

    def look_after_a_while(port: int, **options: Any) -> probe.Health:
        return answers.pop() if answers else look(port, **options)

    monkeypatch.setattr(probe, "health", look_after_a_while)
    monkeypatch.setattr(launcher, "launch", launch_and_jump)

    assert settled(wanted).state == ServerState.READY
