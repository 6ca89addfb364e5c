import os
import signal
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from servers_app import launcher, services, supervisor
from servers_app.models import Server, ServerState
from tests.conftest import MakeProfile
from tests.servers_app.supervisor.conftest import (
    SetMode,
    history,
    is_gone,
    killed,
    settled,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)


def due(server: Server) -> Server:
    """Let the time pass until a failed server is tried again."""
    assert server.next_start_at is not None
    past = timezone.now() - timedelta(seconds=1)
    Server.objects.filter(pk=server.pk).update(next_start_at=past)
    return server


def test_a_server_that_dies_while_it_loads_says_why_and_keeps_its_last_lines(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("die")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert server.exit_code == 1
    assert "--stand-in" in server.last_error
    assert "error: invalid argument: --stand-in" in server.log_tail


def test_what_cannot_get_better_by_itself_is_left_alone_until_somebody_asks(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("die")
    assert settled(wanted).next_start_at is None
    stand_in("serve")

    assert settled(wanted).state == ServerState.FAILED

    services.request_start(wanted.model)
    assert settled(wanted).state == ServerState.READY


def test_a_server_that_is_killed_is_started_again_after_a_pause(wanted: Server) -> None:
    first = settled(wanted).pid

    server = settled(killed(settled(wanted), signal.SIGKILL))

    assert server.state == ServerState.FAILED
    assert server.exit_code == -signal.SIGKILL
    assert "is started again" in server.note
    assert 0 < (supervisor.settle(server.pk) or 0) <= 2
    server = settled(due(server))
    assert server.state == ServerState.READY
    assert server.pid != first
    assert server.restarts == 1
    assert ("ready", "failed") in history(server)


def test_the_pauses_grow_and_in_the_end_it_is_given_up(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    settings.MODEL_RESTART_LIMIT = 3
    stand_in("crash")
    pauses = []
    settled(wanted)
    until(lambda: settled(wanted).state == ServerState.FAILED)
    while wanted.next_start_at is not None and wanted.stopped_at is not None:
        pauses.append((wanted.next_start_at - wanted.stopped_at).total_seconds())
        settled(due(wanted))
        until(lambda: settled(wanted).state == ServerState.FAILED)

    assert len(pauses) == 2
    assert pauses[0] < pauses[1]
    assert "3 times" in wanted.last_error
    assert wanted.port is None


@pytest.mark.parametrize(
    ("policy", "mode", "is_again"),
    [
        ("never", "crash", False),
        ("on-failure", "crash", True),
        ("on-failure", "quit", False),
        ("unless-stopped", "quit", True),
    ],
)
def test_the_profile_says_what_is_started_again(
    wanted: Server,
    stand_in: SetMode,
    make_profile: MakeProfile,
    policy: str,
    mode: str,
    is_again: bool,
) -> None:
    make_profile("p", is_active=True, restart_policy=policy)
    stand_in(mode)
    settled(wanted)

    until(lambda: settled(wanted).state == ServerState.FAILED)

    assert (wanted.next_start_at is not None) == is_again


def test_a_server_that_vanished_with_its_keeper_is_started_again(wanted: Server) -> None:
    before = settled(wanted)
    assert before.keeper_pid is not None
    first = before.pid

    os.killpg(before.keeper_pid, signal.SIGKILL)
    until(lambda: is_gone(first))
    server = settled(wanted)

    assert "killed" in server.last_error
    server = settled(due(server))
    assert server.state == ServerState.READY
    assert server.pid != first


def test_after_a_reboot_what_was_wanted_is_started_at_once(wanted: Server) -> None:
    first = settled(wanted).pid
    killed(settled(wanted), signal.SIGKILL)
    until(lambda: is_gone(wanted.keeper_pid))
    Server.objects.filter(pk=wanted.pk).update(boot_id="the boot before")
    _forget_exit(wanted)

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert server.restarts == 1


def _forget_exit(server: Server) -> None:
    """A machine that goes down lets no keeper write anything."""
    (launcher.server_dir(server.pk) / "exit.json").unlink()


def test_a_port_that_was_taken_in_the_last_moment_means_another_try(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("port taken")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert server.port is None
    stand_in("serve")
    assert settled(due(server)).state == ServerState.READY
