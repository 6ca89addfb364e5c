import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pytest_django import Settings

from servers_app.models import Server
from tests import ports

STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the queue's place; return the list of servers that `settle` is queued for."""
    server_ids: list[int] = []
    monkeypatch.setattr(
        "servers_app.tasks.settle.apply_async",
        lambda args, **_options: server_ids.append(args[0]),
    )
    return server_ids


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a function that finds a port nobody listens on."""
    return ports.free_port


@pytest.fixture
def node(
    settings: Settings, tmp_path: Path, free_port: Callable[[], int], queued: list[int]
) -> Iterator[Path]:
    """Give the test a node of its own: folders, a port, and no process left behind."""
    settings.MAGI_DATA_DIR = tmp_path
    settings.MAGI_RUN_DIR = tmp_path / "run"
    settings.MODEL_PORT_RANGE_START = settings.MODEL_PORT_RANGE_END = free_port()
    yield tmp_path
    left = []
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or []):
            left.append(process.info["cmdline"])
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    assert not left or Server.objects.exists(), left


@pytest.fixture
def stand_in(
    node: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Run the stand-in for llama-server; return a function that sets its mode."""
    program = node / "llama-server"
    program.write_text(f"#!{sys.executable}\n" + STAND_IN.read_text())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings.LLAMA_SERVER_PATH = str(program)

    def set_mode(mode: str) -> None:
        monkeypatch.setenv("STAND_IN_MODE", mode)

    return set_mode
