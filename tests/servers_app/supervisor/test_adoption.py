import os
import shutil
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from servers_app import launcher, processes, services
from servers_app.models import Server, ServerState, Wanted
from servers_app.processes import ProcessIdentity
from servers_app.supervisor import sweeping
from tests.servers_app.supervisor.conftest import SetMode, is_gone, settled, until

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_server_whose_worker_died_right_after_the_launch_is_adopted(wanted: Server) -> None:
    pid = settled(wanted).pid
    Server.objects.filter(pk=wanted.pk).update(
        state=ServerState.STARTING,
        pid=None,
        pid_started_at=None,
        keeper_pid=None,
        keeper_started_at=None,
        boot_id="",
    )

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid == pid


def test_a_process_of_an_earlier_launch_is_ended_before_another_is_started(
    wanted: Server, free_port: Callable[[], int]
) -> None:
    first = settled(wanted).pid
    Server.objects.filter(pk=wanted.pk).update(
        state=ServerState.STOPPED, pid=None, pid_started_at=None, port=free_port()
    )

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert is_gone(first)


def test_a_recycled_pid_is_neither_believed_nor_signalled(wanted: Server) -> None:
    settled(wanted)
    mine = ProcessIdentity(os.getpid(), 12345.0, processes.boot_id())

    processes.terminate(mine)
    processes.kill(mine)

    assert processes.find(mine) is None


def test_a_process_of_another_boot_is_not_believed() -> None:
    me = processes.identify(os.getpid())
    assert me is not None

    other_boot = ProcessIdentity(me.pid, me.started_at, "another boot")

    assert processes.find(me) is not None
    assert processes.find(other_boot) is None


def test_a_server_whose_key_nobody_knows_any_more_is_started_again(
    wanted: Server, settings: Settings
) -> None:
    first = settled(wanted).pid
    settings.SECRET_KEY = "changed between two starts, as a person may do"

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert is_gone(first)


# -- what no row accounts for


def test_a_server_whose_row_was_deleted_is_ended(wanted: Server) -> None:
    server = settled(wanted)
    pid, number = server.pid, server.pk
    Server.objects.filter(pk=number).delete()

    assert sweeping.sweep("local") == [number]
    assert is_gone(pid)


def test_a_server_that_runs_although_its_row_says_it_rests_is_ended(wanted: Server) -> None:
    pid = settled(wanted).pid
    Server.objects.filter(pk=wanted.pk).update(
        wanted=Wanted.STOPPED, state=ServerState.STOPPED, pid=None, port=None
    )

    assert sweeping.sweep("local") == [wanted.pk]
    assert is_gone(pid)


def test_a_server_that_runs_although_its_row_has_given_it_up_is_ended(
    wanted: Server,
) -> None:
    pid = settled(wanted).pid
    Server.objects.filter(pk=wanted.pk).update(
        state=ServerState.FAILED,
        stopped_at=timezone.now(),
        next_start_at=None,
        pid=None,
        port=None,
    )
    asked = Server.objects.filter(pk=wanted.pk)
    asked.update(requested_at=timezone.now())
    assert sweeping.sweep("local") == [], "the start that was asked for meets it"
    asked.update(requested_at=timezone.now() - timedelta(hours=1))

    assert sweeping.sweep("local") == [wanted.pk]
    assert is_gone(pid)


def test_what_a_row_accounts_for_is_not_touched(wanted: Server) -> None:
    pid = settled(wanted).pid

    assert sweeping.sweep("local") == []

    assert not is_gone(pid)


def test_a_file_that_names_a_stranger_has_nobody_signalled(wanted: Server) -> None:
    server = settled(wanted)
    services.request_stop(wanted)
    settled(wanted)
    record = launcher.server_dir(server.pk) / "process.json"
    record.write_text(f'{{"keeper_pid": {os.getpid()}, "pid": {os.getpid()}, "started_at": 0}}')

    assert sweeping.sweep("local") == []


def test_a_server_that_ignores_sigterm_is_swept_all_the_same(
    wanted: Server, stand_in: SetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.supervisor.stopping.STOP_GRACE_S", 0.2)
    stand_in("stubborn")
    pid, number = settled(wanted).pid, wanted.pk
    Server.objects.filter(pk=number).delete()

    sweeping.sweep("local")

    until(lambda: is_gone(pid))


def test_the_files_of_a_server_that_ended_long_ago_are_no_server(wanted: Server) -> None:
    server = settled(wanted)
    assert server.keeper_pid is not None
    os.killpg(server.keeper_pid, signal.SIGKILL)
    until(lambda: is_gone(server.pid))
    until(lambda: not launcher.is_kept(server.pk))

    assert sweeping.sweep("local") == []
    shutil.rmtree(launcher.server_dir(server.pk))
    assert sweeping.sweep("local") == []
