"""Memory of real processes: measured while they live, and seen to come back."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from servers_app import memory, processes
from servers_app.admission import Gpu, Machine
from servers_app.hardware import nvidia
from servers_app.memory import Usage, machine, measure, running_on, wait_until_back
from servers_app.models import ServerState
from tests.conftest import MakeServer
from tests.servers_app.nvml_stand_in import StandInGpu, StandInNvml

ALLOCATE = """
import mmap, subprocess, sys
allocate_mib, path, child_mib = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
held = bytearray(b"x") * (allocate_mib << 20)
if path:
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    touched = sum(mapped[place] for place in range(0, len(mapped), 4096))
if child_mib:
    argv = [sys.executable, "-c", sys.argv[4], str(child_mib), "", "0", ""]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
"""
LEAST_MIB = 5  # a Python with nothing
ATTEMPTS = 5

Allocate = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def allocate() -> Iterator[Allocate]:
    """Return a function that starts a process which has memory, until its stdin closes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        mib: int = 0, *, mapped: Path | None = None, child_mib: int = 0
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                ALLOCATE,
                str(mib),
                str(mapped or ""),
                str(child_mib),
                ALLOCATE,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children; do nothing when it has ended."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
        process.communicate()


def test_what_a_process_allocated_is_anonymous_and_what_it_mapped_is_not(
    allocate: Allocate, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"x" * (60 << 20))

    usage = measure(allocate(80, mapped=weights).pid, None)

    assert 140 + LEAST_MIB <= usage.resident_mib < 240
    assert 80 <= usage.anonymous_mib < 140
    assert usage.vram_mib == 0


def test_the_children_of_a_server_belong_to_it(allocate: Allocate) -> None:
    usage = measure(allocate(30, child_mib=90).pid, None)

    assert usage.resident_mib >= 120 + 2 * LEAST_MIB
    assert usage.anonymous_mib >= 120


def test_its_keeper_belongs_to_it_and_a_process_with_its_keepers_old_pid_does_not(
    allocate: Allocate,
) -> None:
    server, stranger = allocate(), allocate(300)

    assert (
        measure(server.pid, os.getpid()).resident_mib > measure(server.pid, None).resident_mib
    )
    assert measure(server.pid, stranger.pid).resident_mib < 300


def test_its_memory_of_the_gpus_is_that_of_all_its_processes(
    allocate: Allocate, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = allocate(child_mib=1)
    (child,) = psutil.Process(process.pid).children()
    taken: dict[int, int | None] = {process.pid: 700, child.pid: 50, os.getpid(): 9}
    monkeypatch.setattr(nvidia, "pynvml", StandInNvml(StandInGpu(computing=taken)))

    assert measure(process.pid, None).vram_mib == 750


def test_a_process_that_has_ended_takes_nothing(allocate: Allocate) -> None:
    process = allocate()
    end(process)

    assert measure(process.pid, os.getpid()) == Usage()


@pytest.mark.django_db
def test_a_server_is_measured_while_its_process_is_its_own(
    allocate: Allocate, make_server: MakeServer
) -> None:
    process = allocate(100)
    started_at = psutil.Process(process.pid).create_time()
    server = make_server(
        state=ServerState.READY,
        memory_mib=50,
        pid=process.pid,
        pid_started_at=started_at,
        boot_id=processes.boot_id(),
    )

    (running,) = running_on("local")
    assert running.resident_mib >= 100 + LEAST_MIB
    assert running.anonymous_mib >= 100
    assert running.counted_mib == 50

    server.pid_started_at = started_at - 3600  # the pid has somebody else now
    server.save()
    (running,) = running_on("local")
    assert (running.resident_mib, running.anonymous_mib) == (0, 0)


# -- after a stop


def test_memory_is_seen_back_after_a_stop(allocate: Allocate) -> None:
    def is_seen_back() -> bool:
        process = allocate(600)
        before, usage = machine(), measure(process.pid, None)
        end(process)
        return wait_until_back(before.available_mib, usage.anonymous_mib)

    # Again, because another program may take as much at the same moment.
    assert any(is_seen_back() for _ in range(ATTEMPTS))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Return a function that sets what is free at each look, and returns the pauses."""

    def see(*looks: tuple[int, int]) -> list[float]:
        machines = iter(Machine(16_000, ram, gpus=(Gpu(8000, vram),)) for ram, vram in looks)
        pauses: list[float] = []
        monkeypatch.setattr(memory, "machine", lambda: next(machines))
        monkeypatch.setattr("servers_app.memory.time.sleep", pauses.append)
        return pauses

    return see


def test_three_quarters_of_what_it_had_are_enough(seen: Callable[..., list[float]]) -> None:
    pauses = seen((1000, 0), (1749, 0), (1750, 0))

    assert wait_until_back(1000, 1000)
    assert pauses == [0.05, 0.05]


def test_the_memory_of_the_gpus_is_waited_for_as_well(
    seen: Callable[..., list[float]],
) -> None:
    pauses = seen((2000, 500), (2000, 1249), (2000, 1250))

    assert wait_until_back(1000, 1000, before_vram_mib=500, freed_vram_mib=1000)
    assert len(pauses) == 2


def test_nothing_is_waited_for_after_a_crash_whatever_else_takes_memory(
    seen: Callable[..., list[float]],
) -> None:
    pauses = seen((10, 0))

    assert wait_until_back(1000, 0, before_vram_mib=500)
    assert pauses == []


def test_memory_that_does_not_come_back_is_given_up(seen: Callable[..., list[float]]) -> None:
    seen((1000, 0))

    assert not wait_until_back(1000, 1000, timeout_s=0)
