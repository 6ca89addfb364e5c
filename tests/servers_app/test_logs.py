"""The logs of servers: their end, turning them over, and what the last launch wrote."""

import fcntl
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from servers_app import launcher, logs
from servers_app.engine.binary import Engine
from servers_app.errors import LaunchError
from servers_app.keys import server_key

ID = 7
PATIENCE_S = 60
MARK = re.compile(r"--- launched \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: (.*) ---")

# Writes each line that it is told to, into an appended file, and answers.
WRITER = """
import os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    os.write(log, line.encode())
    print("written", flush=True)
"""

Write = Callable[[str], None]


@pytest.fixture
def log(settings: Settings, tmp_path: Path) -> Path:
    settings.MAGI_DATA_DIR = tmp_path
    path = logs.log_path(ID)
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have logs turned over past 100 bytes."""
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 100)


@pytest.fixture
def write(log: Path) -> Iterator[Write]:
    """Return a function that has another process, which keeps the log open, write a line."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def tell(line: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "written\n"

        yield tell
        process.kill()


def earlier(log: Path, number: int) -> Path:
    return log.with_name(f"server.log.{number}")


# -- the end


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a\nb\nc\n", 2, "b\nc"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\n\nb\n", 2, "\nb"),
        ("a\nb\n", 9, "a\nb"),
        ("a\nb\n", 0, ""),
        ("", 2, ""),
        ("\n", 2, ""),
        ("0 %\r50 %\r100 %\r\nend\r\n", 9, "100 %\nend"),
        ("\x1b[31mred\x1b[0m\a\n", 1, "red "),
        ("ä" * 100_000, 1, "ä" * (logs.MAX_LINE_CHARS - 1) + "…"),
    ],
)
def test_the_last_lines_are_shown(log: Path, text: str, lines: int, expected: str) -> None:
    log.write_bytes(text.encode())

    assert logs.tail(ID, lines) == expected


def test_what_is_no_text_is_replaced(log: Path) -> None:
    log.write_bytes(b"\xff\xfe \xc3\n")

    assert logs.tail(ID, 1) == "\ufffd\ufffd \ufffd"


def test_there_may_be_no_log(log: Path) -> None:
    assert logs.tail(ID, 5) == ""
    assert logs.since_last_launch(ID) == ""
    assert not logs.rotate(ID)


def test_the_last_of_very_many_lines_are_shown(log: Path) -> None:
    log.write_text("".join(f"line {number}\n" for number in range(300_000)))

    shown = logs.tail(ID, 10_000).split("\n")

    assert shown == [f"line {number}" for number in range(290_000, 300_000)]


def test_no_more_is_read_than_is_sensible(log: Path) -> None:
    log.write_bytes(b"x" * (3 * logs.MAX_TAIL_BYTES))

    assert len(logs.tail(ID, 10_000)) == logs.MAX_LINE_CHARS


def test_lines_of_the_logs_before_are_shown_with_those_of_this_one(log: Path) -> None:
    log.write_text("e\nf\n")
    earlier(log, 1).write_text("c\nd\n")
    earlier(log, 2).write_text("a\nb\n")

    assert logs.tail(ID, 5) == "b\nc\nd\ne\nf"


def test_the_key_of_a_server_is_not_shown(log: Path) -> None:
    log.write_text(f"api_keys: {server_key(ID)}, {server_key(ID + 1)}\n")

    assert logs.tail(ID, 1) == f"api_keys: [its key], {server_key(ID + 1)}"


# -- turning over


def test_a_log_that_is_short_is_left_alone(log: Path, small: None) -> None:
    log.write_bytes(b"x" * 100)

    assert not logs.rotate(ID)
    assert sorted(path.name for path in log.parent.iterdir()) == ["server.log"]


def test_a_server_that_runs_writes_on_into_the_emptied_log(
    log: Path, small: None, write: Write
) -> None:
    write("first " + "x" * 100)

    assert logs.rotate(ID)
    write("second")

    assert log.read_text() == "second\n"  # not after a hole of 107 bytes
    assert earlier(log, 1).read_text() == "first " + "x" * 100 + "\n"


def test_two_logs_are_kept(log: Path, small: None, write: Write) -> None:
    for number in range(5):
        write(f"{number} " + "x" * 100)
        assert logs.rotate(ID)

    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["server.log", "server.log.1", "server.log.2"]
    assert [earlier(log, number).read_text()[0] for number in (1, 2)] == ["4", "3"]
    assert log.read_text() == ""


def test_of_two_who_turn_over_at_once_one_does(log: Path, small: None) -> None:
    log.write_bytes(b"x" * 101)
    turned: list[bool] = []
    second = threading.Thread(target=lambda: turned.append(logs.rotate(ID)))
    with log.open("rb+") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        second.join(0.2)  # for as long as it likes: it waits

        assert second.is_alive()
        first.truncate(0)

    second.join(PATIENCE_S)
    assert turned == [False]
    assert not earlier(log, 1).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is Linux's /dev/full")
def test_on_a_full_disk_the_log_is_emptied_all_the_same(log: Path, small: None) -> None:
    log.write_bytes(b"x" * 101)
    log.with_name("server.log.tmp").symlink_to("/dev/full")

    assert logs.rotate(ID)

    assert [path.name for path in log.parent.iterdir()] == ["server.log"]
    assert log.read_bytes() == b""


def test_a_log_that_cannot_be_turned_over_stays(
    log: Path, small: None, caplog: pytest.LogCaptureFixture
) -> None:
    log.write_bytes(b"x" * 101)
    log.with_name("server.log.tmp").mkdir()

    assert not logs.rotate(ID)

    assert log.read_bytes() == b"x" * 101
    assert "cannot be turned over: [Errno 21] Is a directory" in caplog.text


# -- launches


@pytest.fixture
def launch(log: Path) -> Callable[..., bool]:
    """Return a function that launches a Python script for a server, by its keeper."""

    def run(script: str, *arguments: str) -> bool:
        engine = Engine((sys.executable,))
        argv = [*engine.command, "-c", script, str(log.parent), *arguments]
        return launcher.launch(ID, engine, argv)

    return run


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def await_exit() -> None:
    """Wait until the server has ended, and its keeper after it."""
    until(lambda: launcher.read_exit(ID, None))
    with (launcher.server_dir(ID) / "keeper.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_a_launch_is_marked_with_its_time_and_command(
    log: Path, launch: Callable[..., bool]
) -> None:
    assert launch("print('up')", "--alias", "it's\na model")
    await_exit()

    first, second = log.read_text().splitlines()
    marked = MARK.fullmatch(first)
    assert marked is not None
    assert shlex.split(marked[1])[-2:] == ["--alias", "it's a model"]
    assert second == "up"


def test_a_mark_begins_a_line_after_a_server_that_died_in_the_middle_of_one(
    log: Path, launch: Callable[..., bool]
) -> None:
    log.write_text("0.01.234 I srv  load_mo")

    assert launch("")
    await_exit()

    cut_off, mark = log.read_text().splitlines()
    assert cut_off == "0.01.234 I srv  load_mo"
    assert MARK.fullmatch(mark)


def test_only_what_the_last_launch_wrote_counts(launch: Callable[..., bool]) -> None:
    launch("print('error: invalid argument: --x')")
    await_exit()

    assert launch("import os; os.write(2, b'later\\n'); print('last')")
    await_exit()

    assert logs.since_last_launch(ID) == "later\nlast"


def test_a_launch_that_met_a_running_server_does_not_count(
    log: Path, launch: Callable[..., bool], write: Write
) -> None:
    assert launch("import time; print('first', flush=True); time.sleep(600)")
    until(lambda: "first\n" in log.read_text())

    again = [launch("") for _ in range(2)]
    write("second")
    os.kill(launcher.read_kept(ID).keeper_pid, 15)
    await_exit()

    assert again == [False, False]
    assert logs.since_last_launch(ID) == "first\nsecond"


def test_what_a_launch_wrote_is_found_in_the_log_before(
    log: Path, small: None, launch: Callable[..., bool], write: Write
) -> None:
    launch("print('earlier')")
    await_exit()
    launch("print('x' * 100)")
    await_exit()

    assert logs.rotate(ID)
    write("after")

    assert logs.since_last_launch(ID) == "x" * 100 + "\nafter"


def test_a_launch_that_wrote_very_much_is_known_by_its_end(log: Path) -> None:
    log.write_text("x\n" * logs.LAUNCH_BYTES + "end\n")

    told = logs.since_last_launch(ID)

    assert told.endswith("x\nend")
    assert len(told) <= logs.LAUNCH_BYTES


def test_a_launch_turns_a_long_log_over(
    log: Path, small: None, launch: Callable[..., bool]
) -> None:
    log.write_bytes(b"x" * 101)

    launch("print('up')")
    await_exit()

    assert log.read_text().splitlines()[1:] == ["up"]
    assert earlier(log, 1).read_bytes() == b"x" * 101


def test_a_program_that_cannot_be_run_is_told_without_the_mark(log: Path) -> None:
    with pytest.raises(LaunchError) as raised:
        launcher.launch(ID, Engine(("/no/such",)), ["/no/such", "--port", "1"])

    reason = "cannot run /no/such: No such file or directory"
    assert str(raised.value) == f"/no/such was not started: {reason}"


def test_a_log_that_cannot_be_written_is_told(log: Path) -> None:
    log.mkdir()

    with pytest.raises(LaunchError, match=r"not started: .*Is a directory"):
        launcher.launch(ID, Engine(("/no/such",)), ["/no/such"])
