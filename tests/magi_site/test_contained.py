"""A container's worker ends first, its llama-servers after it, and the container says how."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

PATIENCE_S = 60.0  # a watchdog, far above what anything takes
# Says that it is there, and what it is told; ends with 7.
WORKER = """
import pathlib, signal, sys, time
told = pathlib.Path(sys.argv[1])
def end(number, frame):
    told.write_text(f"told {number}")
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
told.write_text("runs")
time.sleep(600)
"""
STARTER = """
import sys
from magi_site.contained import main
park = ["-c", f"open({sys.argv[1]!r}, 'a').write(', parked')"]
sys.exit(main(sys.argv[2:], park=park))
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


def start(told: Path, *command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(told), *command],
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(settings.BASE_DIR)},
    )


def test_a_signal_ends_the_worker_and_the_servers_after_it(told: Path) -> None:
    process = start(told, "python", "-c", WORKER, str(told))
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not told.exists() or told.read_text() != "runs":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE_S) == 7
    finally:
        process.kill()
        process.wait()
    assert told.read_text() == f"told {signal.SIGTERM:d}, parked"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)],
)
def test_a_worker_that_ends_by_itself_is_started_again_beside_its_servers(
    told: Path, code: str, status: int
) -> None:
    told.write_text("")

    assert start(told, "python", "-c", code).wait(PATIENCE_S) == status

    assert told.read_text() == ""  # nothing was parked: docker restarts the container


def test_without_a_command_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    from magi_site.contained import main  # noqa: PLC0415 - beside its only use in this process

    assert main([]) == 64
    assert "usage: " in capsys.readouterr().err
