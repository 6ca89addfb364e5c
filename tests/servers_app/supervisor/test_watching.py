import os
import signal
from datetime import datetime, timedelta

import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app.locks import node_lock
from servers_app import supervisor
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from servers_app.supervisor import settling, stopping
from tests.conftest import MakeModel, MakeProfile
from tests.servers_app.supervisor.conftest import SetMode, history, is_gone, settled, until

pytestmark = pytest.mark.django_db(transaction=True)


def test_unhealthy_is_seen_and_gets_well_again(wanted: Server) -> None:
    process = psutil.Process(settled(wanted).pid)
    process.suspend()
    try:
        assert settled(wanted).state == ServerState.UNHEALTHY
    finally:
        process.resume()

    assert settled(wanted).state == ServerState.READY


def test_a_server_that_does_not_answer_for_long_is_started_anew(
    wanted: Server, settings: Settings, make_profile: MakeProfile
) -> None:
    settings.MODEL_WEDGE_TIMEOUT = 1
    make_profile("p", is_active=True, drain_seconds=0)
    first = settled(wanted).pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)

    until(lambda: settled(wanted).state == ServerState.FAILED)

    assert "has not answered for" in wanted.last_error
    assert is_gone(first)
    assert wanted.next_start_at is not None


def test_a_server_that_is_busy_without_moving_a_token_is_started_anew(
    wanted: Server,
    stand_in: SetMode,
    settings: Settings,
    make_profile: MakeProfile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MODEL_WEDGE_TIMEOUT = 1
    monkeypatch.setattr(stopping, "STOP_GRACE_S", 0.2)
    make_profile("p", is_active=True, drain_seconds=1)
    stand_in("wedged")
    assert settled(wanted).state == ServerState.READY

    until(lambda: settled(wanted).state == ServerState.FAILED)

    assert "no token has moved" in wanted.last_error
    assert history(wanted)[-2:] == [("ready", "unhealthy"), ("unhealthy", "failed")]


def test_a_busy_server_whose_tokens_move_is_let_work(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    settings.MODEL_WEDGE_TIMEOUT = 1
    stand_in("busy")
    started = settled(wanted)

    until(lambda: timezone.now() - _ready_at(settled(wanted)) > timedelta(seconds=2))

    assert (wanted.state, wanted.pid) == (ServerState.READY, started.pid)


def test_a_server_that_nobody_could_look_at_for_long_is_not_thought_stuck(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    """As on a node that was cut off: what it had in hand was taken by nobody."""
    settings.MODEL_WEDGE_TIMEOUT = 60
    stand_in("wedged")
    started = settled(wanted)
    settled(wanted)  # it has work in hand now
    long_ago = timezone.now() - timedelta(minutes=10)
    Server.objects.update(health_at=long_ago, progressed_at=long_ago)

    settled(wanted)

    assert (wanted.state, wanted.pid) == (ServerState.READY, started.pid)
    assert wanted.progressed_at is not None
    assert wanted.progressed_at > long_ago


def _ready_at(server: Server) -> datetime:
    assert server.ready_at is not None
    return server.ready_at


# -- reconcile


def test_reconcile_names_what_there_is_to_do_and_leaves_the_rest(
    wanted: Server, make_model: MakeModel
) -> None:
    def make(name: str, **fields: object) -> int:
        return Server.objects.create(model=make_model(name), node="local", **fields).pk

    running = settled(wanted)
    now = timezone.now()
    soon, past = now + timedelta(seconds=60), now - timedelta(seconds=1)
    make("at-rest")
    make("given-up", state=ServerState.FAILED, wanted=Wanted.RUNNING)
    make("later", state=ServerState.FAILED, wanted=Wanted.RUNNING, next_start_at=soon)
    Server.objects.create(model=make_model("elsewhere"), node="attic", wanted=Wanted.RUNNING)
    to_do = {
        make("to-launch", wanted=Wanted.RUNNING),
        make("again", state=ServerState.FAILED, wanted=Wanted.RUNNING, next_start_at=past),
        make("gone", wanted=Wanted.RUNNING, state=ServerState.READY, port=8090, health_at=now),
        make("to-stop", state=ServerState.READY, port=8091),
    }

    assert set(settling.unsettled("local")) == to_do
    assert running.pk not in to_do


def test_health_is_asked_for_as_often_as_the_profile_says(
    wanted: Server, make_profile: MakeProfile
) -> None:
    make_profile("p", is_active=True, health_check_interval=30)
    settled(wanted)

    assert settling.unsettled("local") == []

    Server.objects.update(health_at=timezone.now() - timedelta(seconds=31))
    assert settling.unsettled("local") == [wanted.pk]
    settled(wanted)
    assert settling.unsettled("local") == []


def test_a_server_that_was_killed_is_noticed_at_the_next_pass(wanted: Server) -> None:
    pid = settled(wanted).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))

    assert supervisor.reconcile("local") == [wanted.pk]


def test_one_reconcile_at_a_time(wanted: Server) -> None:
    with node_lock("reconcile") as held:
        assert held
        assert supervisor.reconcile("local") == []

    assert supervisor.reconcile("local") == [wanted.pk]


def test_one_whose_node_has_another_address_now_is_started_anew_there(
    wanted: Server, make_profile: MakeProfile
) -> None:
    make_profile("p", is_active=True, drain_seconds=0)
    server = settled(wanted)
    first = server.pid
    server.argv[server.argv.index("--host") + 1] = "10.0.0.7"  # as it was launched long ago
    server.save()

    server = settled(server)

    assert (server.state, server.host) == (ServerState.READY, "127.0.0.1")
    assert is_gone(first)
    said = "it listens on 10.0.0.7, and its node is reached at 127.0.0.1 now"
    assert ServerEvent.objects.filter(kind="note", why__contains=said).count() == 1
