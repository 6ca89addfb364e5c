"""Private servers, with a stand-in for llama-server: launched, counted, refused, ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from models_app.models import DiscoveredModel
from servers_app import launcher, memory
from servers_app.bench import private
from servers_app.bench.promises import NUMBERS, promises
from servers_app.bench.running import free_port, launched, serving, settings_for
from servers_app.errors import BenchmarkCancelledError, BenchmarkError
from servers_app.models import Server, ServerState
from servers_app.ports import port_range
from servers_app.supervisor import sweeping
from tests.servers_app.bench.conftest import PATIENCE_S, SetMode, processes_of

pytestmark = pytest.mark.django_db(transaction=True)

HOLDER = """
import sys, time
import django
django.setup()
from django.conf import settings
settings.MAGI_RUN_DIR = sys.argv[3]
from servers_app import launcher
from servers_app.bench import private
from servers_app.engine.binary import Engine
with private.reserved() as number:
    argv = [sys.argv[1], *"--model M --alias A --ctx-size 512 --parallel 1 --port".split()]
    launcher.launch(number, Engine((sys.argv[1],)), [*argv, sys.argv[2]])
    print(launcher.read_kept(number).pid, flush=True)
    time.sleep(600)
"""


def test_a_private_server_has_no_row_and_a_port_outside_the_range(
    node: Path, stand_in: SetMode, small: DiscoveredModel
) -> None:
    stand_in("serve")

    with launched(small, settings_for(small, {"threads": 1}), is_cold=True) as target:
        assert target.port not in port_range()
        assert target.load_seconds is not None
        assert target.usage().resident_mib > 0
        assert (target.context, target.slots) == (2048, 1)
        assert target.settings["threads"].origin == "measurement"
        assert not Server.objects.exists()

    assert processes_of(node) == []
    assert not launcher.server_dir(NUMBERS[0]).exists()


def test_a_private_server_is_counted_like_any_other_and_never_evicted(
    node: Path, stand_in: SetMode, small: DiscoveredModel
) -> None:
    stand_in("serve")
    settings = settings_for(small)

    with launched(small, settings):
        (running,) = memory.running_on("local")
        assert running.name == "SMALL (measured)"
        assert running.counted_mib == memory.need_of(small, settings, "", "local").ram_mib
        assert running.resident_mib > 0
        assert not running.may_be_evicted

    assert memory.running_on("local") == []


def test_what_does_not_fit_is_refused_with_figures(
    node: Path, stand_in: SetMode, small: DiscoveredModel, settings: Settings
) -> None:
    stand_in("serve")
    settings.MAGI_MEMORY_RESERVE_MIB = 2**20

    with (
        pytest.raises(BenchmarkError, match=r"SMALL needs about [\d,]+ MiB; free are 0 of"),
        launched(small, settings_for(small)),
    ):
        pass

    assert promises() == {}
    assert processes_of(node) == []


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("die", "does not know|--stand-in", id="it dies"),
        pytest.param("stranger", "answered by another program", id="a stranger answers"),
        pytest.param("port taken", "[Pp]ort", id="its port is taken, again and again"),
    ],
)
def test_a_server_that_does_not_come_up_is_said_so(
    node: Path, stand_in: SetMode, small: DiscoveredModel, mode: str, expected: str
) -> None:
    stand_in(mode)

    with (
        pytest.raises(BenchmarkError, match=expected),
        launched(small, settings_for(small)),
    ):
        pass

    assert processes_of(node) == []


def test_a_load_that_is_wanted_no_more_is_ended(
    node: Path, stand_in: SetMode, small: DiscoveredModel
) -> None:
    stand_in("hang")
    until = time.monotonic() + 0.5

    with (
        pytest.raises(BenchmarkCancelledError),
        launched(small, settings_for(small), is_wanted=lambda: time.monotonic() < until),
    ):
        pass

    assert processes_of(node) == []


def test_a_stubborn_server_is_killed_at_the_end(
    node: Path, stand_in: SetMode, small: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.bench.private.STOP_GRACE_S", 0.2)
    stand_in("stubborn")

    with launched(small, settings_for(small)):
        pass

    assert processes_of(node) == []


def test_a_model_that_cannot_run_is_refused(node: Path, small: DiscoveredModel) -> None:
    small.problem = "truncated"

    with (
        pytest.raises(BenchmarkError, match="truncated"),
        launched(small, settings_for(small)),
    ):
        pass


def test_without_a_server_that_is_ready_the_running_one_is_not_measured(
    node: Path, small: DiscoveredModel
) -> None:
    Server.objects.create(model=small, node="local", state=ServerState.STOPPED)

    with pytest.raises(BenchmarkError, match="no server that is ready"), serving(small):
        pass


@pytest.fixture
def holder(node: Path, stand_in: SetMode) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has launched a private server, and the server's pid."""
    stand_in("serve")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "magi_site.settings",
        "MAGI_DATA_DIR": str(node),
    }
    program, locks = str(node / "llama-server"), str(django_settings.MAGI_RUN_DIR)
    command = [sys.executable, "-c", HOLDER, program, str(free_port()), locks]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=django_settings.BASE_DIR,
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    private.forget(NUMBERS[0])


def test_a_server_whose_measurer_was_killed_is_ended_by_the_next_sweep(
    node: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, pid = holder
    assert sweeping.sweep("local") == []  # somebody measures with it

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert launcher.is_kept(NUMBERS[0])  # it has outlived who measured
    assert sweeping.sweep("local") == [NUMBERS[0]]

    deadline = time.monotonic() + PATIENCE_S
    while processes_of(node):
        assert time.monotonic() < deadline, pid
        time.sleep(0.02)


def test_a_server_that_a_killed_measurer_left_is_ended_by_the_next_measurement(
    node: Path, small: DiscoveredModel, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, left = holder
    process.send_signal(signal.SIGKILL)
    process.wait()

    with launched(small, settings_for(small)) as target:
        assert target.process.pid != left

    assert processes_of(node) == []


def test_measurements_at_once_have_numbers_of_their_own(node: Path) -> None:
    with private.reserved() as first, private.reserved() as second:
        assert {first, second} == {NUMBERS[0], NUMBERS[1]}


def test_too_many_measurements_at_once_are_refused(node: Path) -> None:
    release, held = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        with private.reserved():
            held.release()
            release.wait()

    threads = [threading.Thread(target=hold) for _ in NUMBERS]
    for thread in threads:
        thread.start()
    for _ in NUMBERS:
        held.acquire()
    try:
        with pytest.raises(BenchmarkError, match="are being measured"), private.reserved():
            pass
    finally:
        release.set()
        for thread in threads:
            thread.join()
