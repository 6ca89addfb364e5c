"""The servers of a node that is shut down end in order, and come back with the next worker."""

from collections.abc import Callable
from threading import Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings

from servers_app.models import Server, ServerState, Wanted
from servers_app.supervisor.parking import park
from tests.conftest import MakeServer
from tests.servers_app.supervisor.conftest import SetMode, is_gone, settled, until

pytestmark = pytest.mark.django_db(transaction=True)


def test_they_end_and_are_wanted_still(wanted: Server) -> None:
    server = settled(wanted)
    pid, keeper_pid = server.pid, server.keeper_pid

    assert park("local", drain_s=5) == []

    server.refresh_from_db()
    assert (server.state, server.wanted) == (ServerState.STOPPED, Wanted.RUNNING)
    assert (server.pid, server.exit_code) == (None, 0)
    assert is_gone(pid)
    assert is_gone(keeper_pid)
    last = server.events.first()
    assert last is not None
    assert (last.who, last.why) == ("park", "the node was shut down")


def test_the_next_worker_starts_them_again_and_counts_no_failure(wanted: Server) -> None:
    settled(wanted)
    park("local", drain_s=5)

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert (server.restarts, server.failed_at, server.is_restart_due) == (0, [], False)


def test_a_request_in_flight_may_end(
    wanted: Server, stand_in: SetMode, finish: Callable[[], None]
) -> None:
    stand_in("busy")
    settled(wanted)

    thread = Thread(target=lambda: park("local", drain_s=60))
    thread.start()
    until(lambda: Server.objects.get().state == ServerState.STOPPING)
    finish()
    thread.join(60)

    assert Server.objects.get().state == ServerState.STOPPED
    assert Server.objects.get().exit_code == 0


def test_those_of_other_nodes_are_left_alone(make_server: MakeServer) -> None:
    elsewhere = make_server(node="b", state=ServerState.READY, wanted=Wanted.RUNNING, port=8099)

    assert park("local", drain_s=1) == []

    elsewhere.refresh_from_db()
    assert elsewhere.state == ServerState.READY


def test_the_command_says_that_none_runs(
    wanted: Server, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    settled(wanted)

    call_command("park", "--no-check", "--drain", "1")

    assert capsys.readouterr().out == "No llama-server runs on local.\n"


def test_the_command_refuses_while_a_worker_would_undo_it(
    wanted: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(wanted)
    monkeypatch.setattr("magi_site.management.commands.park.require_worker", lambda _node: None)

    with pytest.raises(CommandError, match=r"worker of local is at work.*Stop it first"):
        call_command("park")

    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY


def test_the_command_ends_them_while_the_database_is_away(
    wanted: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_node: str, *, drain_s: float) -> list[str]:
        raise OperationalError

    server = settled(wanted)
    monkeypatch.setattr("magi_site.management.commands.park.park", fail)

    call_command("park", "--no-check")

    assert is_gone(server.pid)
    assert is_gone(server.keeper_pid)
