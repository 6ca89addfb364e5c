"""The processes of `manage.py run`: kept alive, stopped, and remembered."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pytest_django import Settings

from magi_site import processes
from magi_site.processes import Child, Children

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)",
]


@pytest.fixture
def children(settings: Settings, tmp_path: Path) -> Iterator[Children]:
    settings.MAGI_DATA_DIR = tmp_path
    children = Children(tmp_path)
    yield children
    for child in children.children:
        if child.process is not None:
            child.process.kill()
            child.process.wait()


def test_what_has_ended_is_started_again(children: Children) -> None:
    child = children.start("worker", SLEEP)
    assert child.process is not None
    child.process.kill()
    child.process.wait()
    child.started_at = time.monotonic() - processes.RESTART_PAUSE_S - 1

    assert children.restart_dead() == [child]

    assert child.is_alive
    assert child.restarts == 1


def test_what_ran_for_long_has_its_earlier_ends_forgotten(children: Children) -> None:
    child = children.start("worker", SLEEP)
    assert child.process is not None
    child.process.kill()
    child.process.wait()
    child.restarts = 4
    child.started_at = time.monotonic() - processes.STABLE_S - 1

    children.restart_dead()

    assert child.restarts == 1


def test_a_ctrl_c_in_the_middle_of_a_start_finds_the_process_on_the_list(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Child.start

    def interrupted_start(child: Child) -> None:
        start(child)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Child, "start", interrupted_start)

    with pytest.raises(KeyboardInterrupt):
        children.start("beat", SLEEP)

    (child,) = children.children
    assert child.is_alive


def test_what_ends_again_and_again_is_given_longer_pauses() -> None:
    pauses = [Child("web", SLEEP, restarts=number).pause_s for number in (0, 1, 2, 10)]

    assert pauses == [1, 2, 4, 30]


def test_what_ignores_sigterm_is_killed(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.2)
    child = children.start("web", STUBBORN)
    while "ready" not in child.last_lines():
        time.sleep(0.02)

    children.stop("web")

    assert not child.is_alive


def test_a_later_run_ends_what_was_left(children: Children, tmp_path: Path) -> None:
    child = children.start("beat", SLEEP)
    assert child.process is not None

    left = Children(tmp_path).end_leftovers()

    assert left == ["beat"]
    assert child.process.wait(10) != 0


def test_a_later_run_ends_nobody_else_who_has_the_pid_now(
    children: Children, tmp_path: Path
) -> None:
    child = children.start("beat", SLEEP)
    assert child.process is not None
    record = (tmp_path / "children.json").read_text()
    started_at = psutil.Process(child.process.pid).create_time()
    (tmp_path / "children.json").write_text(record.replace(str(started_at), "12345.0"))

    left = Children(tmp_path).end_leftovers()

    assert left == []
    assert child.is_alive
