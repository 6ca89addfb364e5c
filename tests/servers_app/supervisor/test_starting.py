import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from servers_app import launcher, services
from servers_app.engine import asking
from servers_app.models import RUNNING, Server, ServerEvent, ServerState
from servers_app.supervisor.loading import max_startup_s
from tests.conftest import MakeModel
from tests.ports import free_ports
from tests.servers_app.supervisor.conftest import (
    PATIENCE_S,
    SetMode,
    has_state,
    history,
    in_background,
    settled,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_wanted_server_is_launched_and_ready(wanted: Server) -> None:
    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid is not None
    assert psutil.pid_exists(server.pid)
    assert server.last_error == ""


def test_settling_again_changes_nothing(wanted: Server) -> None:
    pid = settled(wanted).pid

    assert settled(wanted).pid == pid


def test_each_change_is_in_its_history_with_who_and_how_long(wanted: Server) -> None:
    settled(wanted)

    assert history(wanted) == [("stopped", "starting"), ("starting", "ready")]
    asked, launched, ready = ServerEvent.objects.filter(server=wanted).order_by("pk")
    assert (asked.kind, asked.who, asked.to_state) == ("wanted", "ada", "running")
    assert launched.who == "ada"
    assert ready.seconds is not None
    assert "it loaded in" in ready.why


def test_the_servers_key_and_no_secret_is_in_its_environment_and_nothing_in_its_argv(
    wanted: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_PORT", "1")
    monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@db/magi")
    monkeypatch.setenv("MAGI_SECRET_KEY", "hunter2")

    process = psutil.Process(settled(wanted).pid)

    environment = process.environ()
    assert len(environment["LLAMA_API_KEY"]) == 64
    assert "LLAMA_ARG_PORT" not in environment
    assert "hunter2" not in " ".join(environment.values())
    assert environment["LLAMA_API_KEY"] not in " ".join(process.cmdline())


def test_what_it_came_to_is_on_its_row(wanted: Server) -> None:
    server = settled(wanted)

    assert server.facts["total_slots"] == 1
    assert server.engine.endswith("/llama-server")
    assert server.peak_mib


def test_a_context_that_came_out_smaller_is_said(wanted: Server, stand_in: SetMode) -> None:
    stand_in("shrunk")

    assert "context of 4096 tokens" in settled(wanted).note


def test_the_load_shows_how_far_it_has_come(wanted: Server, stand_in: SetMode) -> None:
    wanted.model.size_bytes = 64 * 2**20
    wanted.model.save()
    stand_in("load")
    thread = in_background(wanted)

    until(lambda: bool(Server.objects.filter(pk=wanted.pk, load_progress__gte=0.2)))

    services.request_stop(wanted)
    thread.join(PATIENCE_S)


def test_a_server_that_never_gets_ready_is_ended(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    settings.MODEL_MAX_STARTUP_TIME = 1
    stand_in("load")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "Not ready within 1 s" in server.last_error
    assert "MODEL_MAX_STARTUP_TIME" in server.last_error


def test_a_load_that_stands_still_is_ended_and_one_that_moves_is_not(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    settings.MODEL_STALL_TIMEOUT = 1
    settings.MODEL_MAX_STARTUP_TIME = 3
    stand_in("hang")
    assert "stood still for 1 s" in settled(wanted).last_error

    stand_in("load")
    services.request_start(wanted.model)
    assert "Not ready within 3 s" in settled(wanted).last_error


def test_a_load_has_more_time_the_larger_the_model_is(make_model: MakeModel) -> None:
    assert max_startup_s(make_model("small", size_bytes=2**30)) == 80
    assert max_startup_s(make_model("large", size_bytes=40 * 2**30)) == 860


def test_a_restart_while_it_loads_starts_it_anew(wanted: Server, stand_in: SetMode) -> None:
    stand_in("hang")
    thread = in_background(wanted)
    until(lambda: bool(Server.objects.filter(pk=wanted.pk, pid__isnull=False)))
    wanted.refresh_from_db()
    first = wanted.pid

    stand_in("serve")
    services.request_restart(wanted)
    thread.join(PATIENCE_S)

    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY
    assert wanted.pid != first


def test_a_program_that_cannot_be_run_has_failed_with_the_reason(
    wanted: Server, settings: Settings, node: Path
) -> None:
    broken = node / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(broken)

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert str(broken) in server.last_error
    assert server.next_start_at is None


KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
# As if the launching process died between the fork of the keeper and its answer.
LEAVES_A_KEEPER = f"""
import subprocess, sys
subprocess.run([sys.executable, "-I", "-S", {str(launcher.KEEPER)!r}, *sys.argv[1:]])
{KILLS_ITSELF}
"""


@pytest.mark.parametrize(
    "keeper", [KILLS_ITSELF, LEAVES_A_KEEPER], ids=["before it runs", "when it runs"]
)
def test_one_whose_keeper_is_killed_while_it_launches_is_tried_again(
    wanted: Server, node: Path, monkeypatch: pytest.MonkeyPatch, keeper: str
) -> None:
    (node / "keeper.py").write_text(keeper)
    with monkeypatch.context() as patch:
        patch.setattr(launcher, "KEEPER", node / "keeper.py")
        server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "was not started: " in server.last_error
    assert not server.last_error.endswith(": ")
    assert server.next_start_at is not None
    Server.objects.update(next_start_at=timezone.now())

    assert settled(wanted).state == ServerState.READY
    assert len(processes_on(wanted.port)) == 1


@pytest.mark.parametrize(
    ("does", "told"),
    [
        pytest.param("exec sleep 600", "did not end within 0.3 s", id="too slow"),
        pytest.param("kill -KILL $$", "ended with -9", id="killed"),
    ],
)
def test_an_engine_that_comes_to_no_answer_is_asked_again(
    wanted: Server,
    settings: Settings,
    node: Path,
    monkeypatch: pytest.MonkeyPatch,
    does: str,
    told: str,
) -> None:
    monkeypatch.setattr(asking, "ANSWER_TIMEOUT_S", 0.3 if "sleep" in does else 10.0)
    silent = node / "silent"
    silent.write_text(f"#!/bin/sh\n{does}\n")
    silent.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(silent)

    server = settled(wanted)

    assert (server.state, server.argv) == (ServerState.FAILED, [])
    assert told in server.last_error
    assert server.next_start_at is not None


def test_a_model_whose_file_has_gone_is_not_launched(wanted: Server) -> None:
    wanted.model.is_missing = True
    wanted.model.save()

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "missing" in server.last_error
    assert server.argv == []


def test_one_model_loads_after_the_other_when_told_so(
    wanted: Server,
    make_model: MakeModel,
    settings: Settings,
    stand_in: SetMode,
    free_port: Callable[[], int],
) -> None:
    settings.MODEL_CONCURRENT_STARTS = False
    settings.MODEL_PORT_RANGE_START = settings.MODEL_PORT_RANGE_END = free_port()
    second = services.request_start(make_model("second"))
    stand_in("hang")
    first_thread = in_background(wanted)
    until(has_state(wanted, ServerState.STARTING))

    second_thread = in_background(second)
    until(lambda: bool(Server.objects.filter(pk=second.pk, note__contains="another model")))

    assert has_state(second, ServerState.STOPPED)()
    services.request_stop(wanted)
    services.request_stop(second)
    first_thread.join(PATIENCE_S)
    second_thread.join(PATIENCE_S)


@pytest.fixture
def two_ports(node: Path, settings: Settings) -> None:
    """Widen the range by a port."""
    settings.MODEL_PORT_RANGE_START = free_ports(2)
    settings.MODEL_PORT_RANGE_END = settings.MODEL_PORT_RANGE_START + 1


def test_a_stranger_on_the_port_means_the_next_port_and_is_said(
    two_ports: None, wanted: Server
) -> None:
    first = wanted.port
    with listening_on(first):
        server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.port == (first or 0) + 1
    notes = ServerEvent.objects.filter(server=server, kind=ServerEvent.Kind.NOTE)
    assert f"port {first} is in use by another program" in notes[0].why


def test_a_full_range_is_said_and_tried_again_until_a_port_is_free(wanted: Server) -> None:
    with listening_on(wanted.port):
        server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "MODEL_PORT_RANGE_START" in server.last_error
    assert server.port is None
    assert server.next_start_at is not None

    Server.objects.update(next_start_at=timezone.now())
    assert settled(wanted).state == ServerState.READY


def test_another_model_on_the_port_is_found_out(wanted: Server, stand_in: SetMode) -> None:
    stand_in("stranger")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "answered by a server of /models/another.gguf" in server.last_error


def listening_on(port: int | None) -> socket.socket:
    thief = socket.socket()
    thief.bind(("127.0.0.1", port or 0))
    thief.listen()
    return thief


def processes_on(port: int | None) -> list[psutil.Process]:
    """Return the servers that were launched for `port`, without their keepers."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(port) in (process.info["cmdline"] or [])
        and "keeper.py" not in " ".join(process.info["cmdline"])
    ]


def test_two_workers_at_once_start_one_server(wanted: Server) -> None:
    threads = [in_background(wanted) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE_S)

    assert len(processes_on(wanted.port)) == 1
    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY


def test_a_model_that_never_ran_has_no_process_and_no_port(
    wanted: Server, make_model: MakeModel
) -> None:
    settled(wanted)

    offered = services.offer(make_model("offered"))

    assert settled(offered).state == ServerState.STOPPED
    assert offered.port is None
    assert Server.objects.filter(state__in=RUNNING).count() == 1


def test_one_whose_node_has_not_its_address_yet_is_tried_again_until_it_has(
    wanted: Server, settings: Settings
) -> None:
    settings.MAGI_NODE_ADDRESS = "192.0.2.1"  # nobody's

    server = settled(wanted)

    assert (server.state, server.argv) == (ServerState.FAILED, [])
    assert "No server can listen on 192.0.2.1" in server.last_error
    assert server.next_start_at is not None

    settings.MAGI_NODE_ADDRESS = "127.0.0.1"
    Server.objects.update(next_start_at=timezone.now())
    assert settled(wanted).state == ServerState.READY
