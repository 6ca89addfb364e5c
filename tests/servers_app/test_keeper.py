"""The keeper, as a real process with real servers that are small Python scripts."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers_app.kept_scripts import (
    ABANDON,
    DEAFEN,
    LEAVE,
    SHOW_SIGNALS,
    SHOW_STDIN,
    SLEEP,
    STUBBORN,
    UNTIL_GO,
    WORKER,
)

KEEPER = Path(__file__).parents[2] / "servers_app" / "keeper.py"
PYTHON = (sys.executable, "-I", "-S")
WATCHDOG_S = 60  # far above anything measured; only a hang reaches it
PAUSE_S = 0.01

Launch = Callable[..., int]


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a folder to keep a server in; whatever runs for it afterwards is an error."""
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    try:
        wait_until(lambda: not processes_of(folder))
    finally:
        for process in processes_of(folder):
            process.kill()


@pytest.fixture
def launch(run_dir: Path) -> Launch:
    """Return a function that has a script kept, and returns when that is answered."""

    def run(
        script: str, *, command: Sequence[str] = (), through: Sequence[str] = (), **streams: Any
    ) -> int:
        argv = [*through, *keeper_argv(run_dir, *(command or server_argv(run_dir, script)))]
        with (run_dir / "log").open("ab") as log:
            keeper = subprocess.Popen(argv, stdout=log, stderr=log, **streams)
        status: int = keeper.wait(WATCHDOG_S)
        return status

    return run


def keeper_argv(run_dir: Path, *command: str) -> list[str]:
    return [*PYTHON, str(KEEPER), str(run_dir), "--", *command]


def server_argv(run_dir: Path, script: str) -> list[str]:
    return [*PYTHON, "-c", script, str(run_dir)]


def processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in process.cmdline():
                found.append(process)
    return found


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(PAUSE_S)


def read(path: Path) -> dict[str, Any]:
    wait_until(path.exists)
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def log_of(run_dir: Path) -> str:
    return (run_dir / "log").read_text()


def stop(run_dir: Path) -> dict[str, Any]:
    os.kill(read(run_dir / "process.json")["keeper_pid"], signal.SIGTERM)
    return read(run_dir / "exit.json")


def test_launching_is_answered_while_the_server_runs(launch: Launch, run_dir: Path) -> None:
    before = time.time()

    status = launch(SLEEP)

    assert status == 0
    record = read(run_dir / "process.json")
    assert sorted(record) == ["keeper_pid", "pid", "started_at"]
    assert before <= record["started_at"] <= time.time()
    assert is_alive(record["pid"])
    assert psutil.Process(record["pid"]).ppid() == record["keeper_pid"]
    assert psutil.Process(record["keeper_pid"]).ppid() != os.getpid()
    stop(run_dir)


def test_the_keeper_leads_the_servers_session(launch: Launch, run_dir: Path) -> None:
    launch(SLEEP)

    record = read(run_dir / "process.json")
    assert os.getsid(record["pid"]) == record["keeper_pid"] != os.getsid(0)
    assert os.getpgid(record["pid"]) == record["keeper_pid"]
    stop(run_dir)


def test_a_second_keeper_is_refused(launch: Launch, run_dir: Path) -> None:
    launch(SLEEP)
    first = read(run_dir / "process.json")

    status = launch(SLEEP)

    assert status == os.EX_TEMPFAIL
    assert log_of(run_dir) == f"{run_dir} has a keeper already\n"
    assert read(run_dir / "process.json") == first
    assert is_alive(first["pid"])
    stop(run_dir)


def test_of_many_launches_at_once_one_starts_a_server(run_dir: Path) -> None:
    command = keeper_argv(run_dir, *server_argv(run_dir, SLEEP))

    launches = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(8)
    ]
    statuses = sorted(launch.wait(WATCHDOG_S) for launch in launches)

    assert statuses == [0] + [os.EX_TEMPFAIL] * 7
    stop(run_dir)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_keeper_stops_the_server(
    launch: Launch, run_dir: Path, number: signal.Signals
) -> None:
    launch(SLEEP)

    os.kill(read(run_dir / "process.json")["keeper_pid"], number)

    assert read(run_dir / "exit.json")["returncode"] == -signal.SIGTERM


def test_the_server_is_told_to_stop_only_once(launch: Launch, run_dir: Path) -> None:
    launch(STUBBORN)
    wait_until(lambda: log_of(run_dir))
    keeper = read(run_dir / "process.json")["keeper_pid"]

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(keeper, number)
        wait_until(lambda: log_of(run_dir) != "up\n")
        time.sleep(10 * PAUSE_S)
    (run_dir / "go").touch()

    assert read(run_dir / "exit.json")["returncode"] == 0
    assert log_of(run_dir) == f"up\n{signal.SIGTERM.value}\n"


def test_how_the_server_ended_is_written_down(launch: Launch, run_dir: Path) -> None:
    launch("memory = bytearray(50_000_000); raise SystemExit(3)")

    record = read(run_dir / "exit.json")
    started = read(run_dir / "process.json")
    assert record["pid"] == started["pid"]
    assert record["returncode"] == 3
    assert started["started_at"] <= record["ended_at"] <= time.time()
    assert 50_000_000 < record["max_rss_bytes"] < 500_000_000
    assert record["user_seconds"] + record["system_seconds"] >= 0


def test_a_killed_server_has_a_negative_returncode(launch: Launch, run_dir: Path) -> None:
    launch(SLEEP)

    os.kill(read(run_dir / "process.json")["pid"], signal.SIGKILL)

    assert read(run_dir / "exit.json")["returncode"] == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_keeper_takes_its_server_with_it(launch: Launch, run_dir: Path) -> None:
    launch(STUBBORN)
    wait_until(lambda: log_of(run_dir))
    record = read(run_dir / "process.json")

    os.kill(record["keeper_pid"], signal.SIGKILL)

    wait_until(lambda: not is_alive(record["pid"]))
    assert not (run_dir / "exit.json").exists()


def test_the_server_holds_the_lock_too(launch: Launch, run_dir: Path) -> None:
    launch(SLEEP)

    server = psutil.Process(read(run_dir / "process.json")["pid"])
    assert "keeper.lock" in [Path(file.path).name for file in server.open_files()]
    stop(run_dir)


def test_a_program_that_does_not_exist_is_reported(launch: Launch, run_dir: Path) -> None:
    for name in ("process.json", "exit.json"):
        (run_dir / name).write_text("{}")  # of an earlier launch

    status = launch("", command=["/x/y", "--port", "1"])

    assert status == 127
    assert log_of(run_dir) == "cannot run /x/y: No such file or directory\n"
    assert not list(run_dir.glob("*.json"))


def test_a_program_that_cannot_be_run_is_reported(launch: Launch, run_dir: Path) -> None:
    program = run_dir / "llama-server"
    program.write_text("not executable")

    status = launch("", command=[str(program)])

    assert status == 126
    assert log_of(run_dir) == f"cannot run {program}: Permission denied\n"


def test_a_server_can_be_started_again_after_it_ended(launch: Launch, run_dir: Path) -> None:
    launch("")
    first = read(run_dir / "exit.json")
    wait_until(lambda: not processes_of(run_dir))

    status = launch(SLEEP)

    assert status == 0
    assert not (run_dir / "exit.json").exists()
    assert stop(run_dir)["pid"] != first["pid"]


def test_a_server_that_cannot_be_recorded_is_not_left(launch: Launch, run_dir: Path) -> None:
    (run_dir / "process.json.tmp").mkdir()

    status = launch(SLEEP)

    assert status == os.EX_IOERR
    assert log_of(run_dir) == "cannot write process.json: Is a directory\n"
    assert not processes_of(run_dir)


def test_an_exit_that_cannot_be_recorded_is_logged(launch: Launch, run_dir: Path) -> None:
    launch(UNTIL_GO)
    (run_dir / "exit.json.tmp").unlink()
    (run_dir / "exit.json.tmp").mkdir()

    (run_dir / "go").touch()

    wait_until(lambda: log_of(run_dir))
    assert log_of(run_dir) == "cannot write exit.json: Is a directory\n"


def test_what_its_exit_takes_of_the_disk_is_taken_before_it_runs(
    launch: Launch, run_dir: Path
) -> None:
    """A disk that is full when it ends, by its log perhaps, loses nothing."""
    launch(UNTIL_GO)
    reserved = (run_dir / "exit.json.tmp").stat()

    (run_dir / "go").touch()

    wait_until((run_dir / "exit.json").exists)
    written = (run_dir / "exit.json").stat()
    assert (written.st_ino, written.st_size) == (reserved.st_ino, reserved.st_size)
    assert json.loads((run_dir / "exit.json").read_text())["returncode"] == 0


def test_without_room_for_its_exit_no_server_runs(launch: Launch, run_dir: Path) -> None:
    (run_dir / "exit.json.tmp").mkdir()

    assert launch(SLEEP) == os.EX_IOERR
    assert log_of(run_dir) == "cannot write exit.json: Is a directory\n"
    assert not processes_of(run_dir)


def test_a_record_that_cannot_be_removed_is_reported(launch: Launch, run_dir: Path) -> None:
    (run_dir / "exit.json").mkdir()

    status = launch(SLEEP)

    assert status == os.EX_CANTCREAT
    assert log_of(run_dir).startswith("cannot remove exit.json: ")


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    command = keeper_argv(tmp_path / "no", "/x/y")

    done = subprocess.run(command, capture_output=True, timeout=WATCHDOG_S, check=False)

    assert done.returncode == os.EX_CANTCREAT
    assert done.stderr.decode() == f"cannot use {tmp_path}/no: No such file or directory\n"


@pytest.mark.parametrize("arguments", [[], ["."], [".", "--"], [".", "true", "--"]])
def test_a_wrong_command_line_is_answered_with_the_usage(arguments: list[str]) -> None:
    command = [*PYTHON, str(KEEPER), *arguments]

    done = subprocess.run(command, capture_output=True, timeout=WATCHDOG_S, check=False)

    assert done.returncode == os.EX_USAGE
    assert done.stderr == b"usage: keeper.py RUN_DIR -- COMMAND [ARGUMENT ...]\n"


def test_ignored_and_blocked_signals_are_not_inherited(launch: Launch, run_dir: Path) -> None:
    launch(SHOW_SIGNALS, through=[*PYTHON, "-c", DEAFEN])

    wait_until(lambda: log_of(run_dir))
    assert log_of(run_dir) == "[] []\n"
    assert stop(run_dir)["returncode"] == -signal.SIGTERM


def test_only_stdout_and_stderr_are_inherited(launch: Launch, run_dir: Path) -> None:
    reader, writer = os.pipe()
    secret, answer = os.pipe()
    os.write(answer, b"typed by somebody")

    launch(SHOW_STDIN, stdin=secret, pass_fds=[writer])

    for descriptor in (secret, answer, writer):
        os.close(descriptor)
    assert select.select([reader], [], [], WATCHDOG_S)[0]  # no process has the writer
    os.close(reader)
    wait_until(lambda: log_of(run_dir))
    assert log_of(run_dir) == "\n"
    stop(run_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux's")
def test_what_the_server_abandons_is_adopted_and_reaped(launch: Launch, run_dir: Path) -> None:
    launch(ABANDON)

    wait_until(lambda: log_of(run_dir))
    keeper = psutil.Process(read(run_dir / "process.json")["keeper_pid"])
    assert log_of(run_dir) == f"{keeper.pid}\n"
    wait_until(lambda: len(keeper.children()) == 1)
    stop(run_dir)


def test_what_the_server_leaves_is_told_to_stop(launch: Launch, run_dir: Path) -> None:
    launch(LEAVE)

    assert read(run_dir / "exit.json")["returncode"] == 0
    wait_until(lambda: not is_alive(int(log_of(run_dir))))


def test_the_keeper_outlives_who_launched_it(run_dir: Path) -> None:
    launching = keeper_argv(run_dir, *server_argv(run_dir, SLEEP))
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *launching])
    wait_until((run_dir / "process.json").exists)

    worker.kill()
    worker.wait(WATCHDOG_S)

    assert is_alive(read(run_dir / "process.json")["pid"])
    assert stop(run_dir)["returncode"] == -signal.SIGTERM
