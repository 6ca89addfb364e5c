"""What the process of a server takes, as it is looked at."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from servers_app import process_load
from servers_app.models import ServerState
from servers_app.process_load import load_of
from servers_app.processes import identify
from tests.conftest import MakeServer

pytestmark = pytest.mark.django_db

READY = {"state": ServerState.READY}


@pytest.fixture
def busy() -> Iterator[int]:
    """The pid of a process that computes without end."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process.pid
        process.kill()


def who(pid: int) -> dict[str, object]:
    identity = identify(pid)
    assert identity is not None
    return {"pid": pid, "pid_started_at": identity.started_at, "boot_id": identity.boot_id}


def test_a_process_that_computes_is_seen_to(
    make_server: MakeServer, settings: Settings, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(**READY, **who(busy), node=settings.MAGI_NODE)
    first = load_of(server)
    assert first is not None
    assert first.resident_mib > 0
    monkeypatch.setattr(process_load, "AT_LEAST_S", 0.0)

    deadline = time.monotonic() + 60
    while (load := load_of(server)) is None or load.cpu_percent == 0:
        assert time.monotonic() < deadline

    assert load.cpu_percent > 0


def test_nobody_is_taken_for_a_server_that_has_gone(
    make_server: MakeServer, settings: Settings, busy: int
) -> None:
    identity = {**who(busy), "pid_started_at": 1.0}  # somebody else had that pid

    assert load_of(make_server(**READY, **identity, node=settings.MAGI_NODE)) is None


def test_what_runs_elsewhere_or_not_at_all_is_not_looked_at(
    make_server: MakeServer, settings: Settings, busy: int
) -> None:
    away = make_server(**READY, **who(busy), node="studio")
    at_rest = make_server(away.model, **who(busy), node=settings.MAGI_NODE)

    assert load_of(away) is None
    assert load_of(at_rest) is None
