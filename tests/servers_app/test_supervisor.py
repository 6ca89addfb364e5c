"""Real processes under the real keeper; the program is a stand-in for llama-server."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection
from pytest_django import Settings

from servers_app import launcher, processes, services, supervisor
from servers_app.models import Server, ServerState, Wanted
from servers_app.processes import ProcessIdentity
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_S = 30
SetMode = Callable[[str], None]


@pytest.fixture
def wanted(make_model: MakeModel, stand_in: SetMode) -> Iterator[Server]:
    """A server that is wanted and not started yet; stopped after the test."""
    server = services.request_start(make_model())
    yield server
    os.environ["STAND_IN_MODE"] = "serve"
    services.request_stop(server)
    supervisor.settle(server.pk)


def settled(server: Server) -> Server:
    supervisor.settle(server.pk)
    server.refresh_from_db()
    return server


def in_background(server: Server) -> threading.Thread:
    def settle() -> None:
        try:
            supervisor.settle(server.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=settle)
    thread.start()
    return thread


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_gone(pid: int | None) -> bool:
    """Whether nothing runs as `pid`: in a container, nobody may reap what init adopts."""
    assert pid is not None
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def has_state(server: Server, state: ServerState) -> Callable[[], bool]:
    return lambda: Server.objects.filter(pk=server.pk, state=state).exists()


def test_a_wanted_server_is_launched_and_ready(wanted: Server) -> None:
    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid is not None
    assert psutil.pid_exists(server.pid)
    assert server.last_error == ""


def test_settling_again_changes_nothing(wanted: Server) -> None:
    pid = settled(wanted).pid

    assert settled(wanted).pid == pid


def test_a_server_that_is_not_wanted_any_more_is_stopped(wanted: Server) -> None:
    pid = settled(wanted).pid
    services.request_stop(wanted)

    server = settled(wanted)

    assert server.state == ServerState.STOPPED
    assert (server.pid, server.port, server.exit_code) == (None, None, 0)
    assert is_gone(pid)


def test_no_keeper_outlives_its_server(wanted: Server) -> None:
    keeper_pid = settled(wanted).keeper_pid
    services.request_stop(wanted)

    settled(wanted)

    assert is_gone(keeper_pid)


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


def test_a_server_that_dies_while_it_loads_has_failed_with_its_last_lines(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("die")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert server.exit_code == 1
    assert "ended with code 1" in server.last_error
    assert "error: invalid argument: --stand-in" in server.last_error


def test_a_failed_server_is_left_alone_until_somebody_asks_again(
    wanted: Server, stand_in: SetMode
) -> None:
    stand_in("die")
    settled(wanted)
    stand_in("serve")

    assert settled(wanted).state == ServerState.FAILED

    services.request_start(wanted.model)
    assert settled(wanted).state == ServerState.READY


def test_a_server_that_never_gets_ready_is_ended(
    wanted: Server, stand_in: SetMode, settings: Settings
) -> None:
    settings.MODEL_MAX_STARTUP_TIME = 1
    stand_in("hang")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "Not ready within 1 s" in server.last_error
    assert "MODEL_MAX_STARTUP_TIME" in server.last_error


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
    monkeypatch.setattr(supervisor, "STOP_GRACE_S", 0.2)
    stand_in("stubborn")
    settled(wanted)
    services.request_stop(wanted)

    server = settled(wanted)

    assert server.state == ServerState.STOPPED
    assert server.exit_code == -signal.SIGKILL


def test_a_stranger_on_the_port_is_found_out(wanted: Server, stand_in: SetMode) -> None:
    stand_in("stranger")

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "answered by a server of /models/another.gguf" in server.last_error


def test_two_workers_at_once_start_one_server(wanted: Server) -> None:
    threads = [in_background(wanted) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE_S)

    running = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(wanted.port) in (process.info["cmdline"] or [])
        and "keeper.py" not in " ".join(process.info["cmdline"])
    ]
    assert len(running) == 1
    wanted.refresh_from_db()
    assert wanted.state == ServerState.READY


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
    wanted: Server, settings: Settings, free_port: Callable[[], int]
) -> None:
    first = settled(wanted).pid
    Server.objects.filter(pk=wanted.pk).update(
        state=ServerState.STOPPED, pid=None, pid_started_at=None, port=free_port()
    )

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert is_gone(first)


def test_a_server_that_is_killed_has_failed_with_its_signal(wanted: Server) -> None:
    pid = settled(wanted).pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))
    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert server.exit_code == -signal.SIGKILL
    assert "signal 9" in server.last_error


def test_a_ready_server_that_vanished_with_its_keeper_is_started_again(wanted: Server) -> None:
    before = settled(wanted)
    assert before.keeper_pid is not None
    assert before.pid is not None
    first = before.pid

    os.killpg(before.keeper_pid, signal.SIGKILL)
    until(lambda: is_gone(first))
    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert server.restarts == 1


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


def test_a_program_that_cannot_be_run_has_failed_with_the_reason(
    wanted: Server, settings: Settings, node: Path
) -> None:
    broken = node / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(broken)

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "broken was not started" in server.last_error


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
    time.sleep(0.3)

    assert has_state(second, ServerState.STOPPED)()
    services.request_stop(wanted)
    services.request_stop(second)
    first_thread.join(PATIENCE_S)
    second_thread.join(PATIENCE_S)


def test_a_port_that_was_taken_meanwhile_is_a_failure_that_names_it(wanted: Server) -> None:
    assert wanted.port is not None
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", wanted.port))
        thief.listen()

        server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "Address already in use" in launcher.log_tail(server.pk, lines=30)


def test_unhealthy_is_seen_and_gets_well_again(wanted: Server) -> None:
    pid = settled(wanted).pid
    assert pid is not None
    process = psutil.Process(pid)
    process.suspend()
    try:
        assert settled(wanted).state == ServerState.UNHEALTHY
    finally:
        process.resume()

    assert settled(wanted).state == ServerState.READY


def test_a_server_whose_key_nobody_knows_any_more_is_started_again(
    wanted: Server, settings: Settings
) -> None:
    first = settled(wanted).pid
    settings.SECRET_KEY = "changed between two starts, as a person may do"

    server = settled(wanted)

    assert server.state == ServerState.READY
    assert server.pid != first
    assert is_gone(first)


def test_a_restart_ends_the_process_and_launches_another(wanted: Server) -> None:
    first = settled(wanted).pid

    services.request_restart(wanted)
    second = settled(wanted).pid

    assert wanted.state == ServerState.READY
    assert is_gone(first)
    assert first != second == settled(wanted).pid


def test_reconcile_names_what_is_not_at_rest(make_model: MakeModel, queued: list[int]) -> None:
    def make(name: str, **fields: object) -> Server:
        return Server.objects.create(model=make_model(name), node="local", **fields)

    make("at-rest")
    make("given-up", state=ServerState.FAILED, wanted=Wanted.RUNNING)
    launched = make("to-launch", wanted=Wanted.RUNNING)
    watched = make("to-watch", wanted=Wanted.RUNNING, state=ServerState.READY, port=8090)
    stopped = make("to-stop", state=ServerState.READY, port=8091)
    Server.objects.create(model=make_model("elsewhere"), node="attic", wanted=Wanted.RUNNING)

    found = supervisor.unsettled("local")

    assert sorted(found) == sorted([launched.pk, watched.pk, stopped.pk])
