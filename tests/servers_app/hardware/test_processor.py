"""The processor: its name, its cores, and the instructions that llama.cpp has code for."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from servers_app import cgroups
from servers_app.hardware import processor

X86 = "model name\t: AMD EPYC\nflags\t\t: fpu sse4_2 avx2 fma f16c avx512vbmi amx_int8\n\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp sve i8mm\nCPU part\t: 0xd40\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of the test's own, with eight cores; nothing of it is kept for others."""
    for name in ("CPUINFO", "CPUS", "FAST_CPUS", "NUMA_NODES"):
        monkeypatch.setattr(processor, name, tmp_path / name)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    processor.forget()
    yield tmp_path
    processor.forget()


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        pytest.param(
            X86, ("sse4_2", "avx2", "f16c", "fma", "avx512_vbmi", "amx_int8"), id="x86"
        ),
        pytest.param(ARM, ("neon", "fp16", "dotprod", "i8mm", "sve"), id="ARM"),
        pytest.param("", (), id="neither"),
    ],
)
def test_flags_are_those_that_matter_to_llama_cpp(
    machine: Path, cpuinfo: str, flags: tuple[str, ...]
) -> None:
    (machine / "CPUINFO").write_text(cpuinfo)

    assert processor.cpu_flags() == flags


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(machine: Path) -> None:
    (machine / "CPUINFO").write_bytes(b"model name\t: Virtual\xae CPU\n")

    assert processor.cpu_name() == "Virtual\N{REPLACEMENT CHARACTER} CPU"


def test_what_cannot_change_is_read_once_and_anew_when_it_is_asked_for(machine: Path) -> None:
    (machine / "CPUINFO").write_text(X86)
    assert processor.cpu_name() == "AMD EPYC"

    (machine / "CPUINFO").write_text(X86.replace("EPYC", "Ryzen"))
    assert processor.cpu_name() == "AMD EPYC"

    processor.forget()
    assert processor.cpu_name() == "AMD Ryzen"


def test_the_fast_cores_of_an_intel_processor_are_counted_without_their_second_threads(
    machine: Path,
) -> None:
    (machine / "FAST_CPUS").write_text("0-7\n")
    for cpu in range(8):
        folder = machine / f"CPUS/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}\n")

    assert processor.performance_cores() == 4


@pytest.mark.parametrize(
    ("capacities", "fast"),
    [
        pytest.param([1024] * 2 + [380] * 6, 2, id="big and little"),
        pytest.param([1024] * 8, None, id="all alike"),
        pytest.param([], None, id="not told"),
    ],
)
def test_the_fast_cores_of_an_arm_processor_are_those_with_the_most_capacity(
    machine: Path, capacities: list[int], fast: int | None
) -> None:
    for cpu, capacity in enumerate(capacities):
        folder = machine / f"CPUS/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")

    assert processor.performance_cores() == fast


def test_numa_nodes_are_counted_and_one_is_assumed(machine: Path) -> None:
    assert processor.numa_nodes() == 1

    (machine / "NUMA_NODES").write_text("0-1,4\n")
    processor.forget()

    assert processor.numa_nodes() == 3


def test_the_largest_cache_is_found(machine: Path) -> None:
    for index, size in enumerate(("32K", "2048K", "32768K")):
        folder = machine / f"CPUS/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n")

    assert processor.last_cache_bytes() == 32 * 2**20


@pytest.mark.parametrize(
    ("member", "files", "limit"),
    [
        pytest.param("0::/a", {"a/cpu.max": "250000 100000"}, 2.5, id="version 2"),
        pytest.param(
            "0::/a", {"a/cpu.max": "max 100000", "cpu.max": "400000 100000"}, 4, id="above it"
        ),
        pytest.param(
            "4:cpu,cpuacct:/a",
            {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"},
            1.5,
            id="version 1",
        ),
        pytest.param(
            "4:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
            id="no limit",
        ),
        pytest.param("0::/a", {"a/cpu.max": "9900000 100000"}, None, id="more than there is"),
    ],
)
def test_a_container_may_have_less_than_the_machine(
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    member: str,
    files: dict[str, str],
    limit: float | None,
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", machine)
    monkeypatch.setattr(cgroups, "MEMBERSHIP", machine / "membership")
    (machine / "membership").write_text(f"{member}\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(f"{text}\n")

    assert processor.cpu_limit() == limit


def test_a_process_that_may_run_on_some_processors_only_has_no_more(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "MEMBERSHIP", machine / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {1, 3}, raising=False)

    assert processor.cpu_limit() == 2
