"""What a machine has: this one, one with GPUs, and one whose memory is limited."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pynvml
import pytest

from servers_app import cgroups
from servers_app.cgroups import UNLIMITED, Limit, read_limit
from servers_app.hardware import (
    nvidia,
    ram,
    read_gpus,
    read_hardware,
    read_memory,
    vram_bytes_by_pid,
)
from tests.servers_app.nvml_stand_in import MIB, StandInGpu, StandInNvml

GIB = 2**30

# As Linux 6.18 writes it, shortened.
ZONES = """\
Node 0, zone    DMA32
  pages free     746905
        high     3139
        protection: (0, 0, 22031, 22031, 22031)
      nr_free_pages 746905
  pagesets
    cpu: 0
              count:    3000
              high:     5216
              batch:    63
              high_min: 288
    cpu: 1
              count:    70
              high:     288
  node_unreclaimable:  0
Node 0, zone   Normal
  pages free     3847
  pagesets
    cpu: 0
              count:    5
"""

UseNvml = Callable[[StandInNvml], StandInNvml]


@pytest.fixture
def use_nvml(monkeypatch: pytest.MonkeyPatch) -> UseNvml:
    def use(nvml: StandInNvml) -> StandInNvml:
        monkeypatch.setattr(nvidia, "pynvml", nvml)
        return nvml

    return use


def test_this_machine_can_be_read() -> None:
    found = read_hardware()

    assert found.cpu
    assert 1 <= found.physical_cores <= found.logical_cores
    assert 0 < found.available_bytes <= found.total_bytes
    assert 0 <= found.swap_used_bytes <= found.swap_total_bytes
    assert json.loads(json.dumps(found.as_json())) == found.as_json()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        pytest.param(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "Library Not Found", id="no library"),
        pytest.param(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded", id="no driver"),
        pytest.param(
            pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "version mismatch", id="half an update"
        ),
    ],
)
def test_a_driver_that_does_not_answer_is_a_note(
    use_nvml: UseNvml, error: int, sentence: str
) -> None:
    use_nvml(StandInNvml(error=error))

    found = read_hardware()

    assert found.gpus == ()
    (note,) = found.notes
    assert sentence in note
    assert "see that nvidia-smi runs" in note
    assert vram_bytes_by_pid() == {}


def test_each_gpu_says_what_it_has_and_what_is_free(use_nvml: UseNvml) -> None:
    nvml = use_nvml(StandInNvml(StandInGpu(free_mib=20_000), StandInGpu("NVIDIA T4", 16_000)))

    found = read_hardware()

    first, second = found.gpus
    assert (first.name, first.free_bytes, first.used_bytes) == (
        "NVIDIA L4",
        20_000 * MIB,
        4_000 * MIB,
    )
    assert (second.name, second.total_bytes) == ("NVIDIA T4", 16_000 * MIB)
    assert found.notes == ()
    assert found.as_json()["gpus"][1]["name"] == "NVIDIA T4"
    assert nvml.opened == 0, "the library is closed again"


def test_a_gpu_that_is_lost_is_left_out_and_the_others_stay(use_nvml: UseNvml) -> None:
    lost = StandInGpu(error=pynvml.NVML_ERROR_GPU_IS_LOST)
    nvml = use_nvml(StandInNvml(lost, StandInGpu("NVIDIA T4")))

    gpus, notes = read_gpus()

    assert [gpu.name for gpu in gpus] == ["NVIDIA T4"]
    assert notes == ["GPU 0 is left out: GPU is lost."]
    assert nvml.opened == 0


def test_a_process_has_what_it_takes_of_all_gpus_together(use_nvml: UseNvml) -> None:
    use_nvml(
        StandInNvml(
            StandInGpu(computing={7: 1000, 8: 500, 9: None}, drawing={7: 1000}),
            StandInGpu(computing={7: 2000}),
        )
    )

    assert vram_bytes_by_pid() == {7: 3000 * MIB, 8: 500 * MIB, 9: 0}


def test_a_gpu_that_fails_leaves_what_processes_have_of_the_others(use_nvml: UseNvml) -> None:
    lost = StandInGpu(error=pynvml.NVML_ERROR_GPU_IS_LOST)
    use_nvml(StandInNvml(lost, StandInGpu(computing={7: 2000})))

    assert vram_bytes_by_pid() == {7: 2000 * MIB}


def test_a_list_of_processes_that_a_gpu_does_not_have_leaves_the_other_one(
    use_nvml: UseNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_gpu: StandInGpu) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    nvml = use_nvml(StandInNvml(StandInGpu(drawing={7: 1000})))
    monkeypatch.setattr(nvml, "nvmlDeviceGetComputeRunningProcesses", refuse)

    assert vram_bytes_by_pid() == {7: 1000 * MIB}


def test_free_pages_that_a_processor_keeps_to_itself_are_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = tmp_path / "zoneinfo"
    zones.write_text(ZONES)
    monkeypatch.setattr(ram, "ZONEINFO", zones)
    seen = psutil.virtual_memory()._replace(total=8 * GIB, available=GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: seen)
    monkeypatch.setattr(ram, "read_limit", Limit)

    pages = (read_memory().available_bytes - GIB) / os.sysconf("SC_PAGE_SIZE")

    assert pages == 3000 + 70 + 5


def test_a_system_that_tells_nothing_of_such_pages_is_taken_at_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ram, "ZONEINFO", tmp_path / "zoneinfo")
    seen = psutil.virtual_memory()._replace(total=8 * GIB, available=GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: seen)
    monkeypatch.setattr(ram, "read_limit", Limit)

    assert read_memory().available_bytes == GIB


# -- limits of containers


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes a control group, and makes this process its member."""
    membership = tmp_path / "membership"
    membership.write_text("")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", membership)

    def write(member: str, folder: str, **files: str) -> None:
        membership.write_text(f"3:cpu,cpuacct:/\n{member}\n")
        path = tmp_path / "cgroup" / folder
        path.mkdir(parents=True)
        for name, text in files.items():
            (path / name.replace("__", ".")).write_text(f"{text}\n")

    return write


V2 = {
    "memory__max": str(4 * GIB),
    "memory__current": str(3 * GIB),
    "memory__stat": f"anon {2 * GIB}\ninactive_file {GIB // 2}\nactive_file {GIB // 4}",
}
V1 = {
    "memory__limit_in_bytes": str(4 * GIB),
    "memory__usage_in_bytes": str(3 * GIB),
    "memory__stat": (
        f"inactive_file 1\ntotal_inactive_file {GIB // 2}\ntotal_active_file {GIB // 4}"
    ),
}
LIMIT = Limit(4 * GIB, 4 * GIB - 3 * GIB + GIB // 2 + GIB // 4)


def test_a_limit_of_version_2_is_found_and_page_cache_counts_as_available(
    cgroup: Callable[..., None],
) -> None:
    cgroup("0::/magi.service", "magi.service", **V2)

    assert read_limit() == LIMIT


def test_a_limit_of_version_1_is_found(cgroup: Callable[..., None]) -> None:
    cgroup("4:memory:/docker/abc", "memory/docker/abc", **V1)

    assert read_limit() == LIMIT


def test_a_limit_of_a_group_above_holds_too(cgroup: Callable[..., None]) -> None:
    cgroup("0::/user.slice/magi.scope", "user.slice", **V2)
    cgroup(
        "0::/user.slice/magi.scope",
        "user.slice/magi.scope",
        memory__max="max",
        memory__current=str(GIB),
        memory__stat="anon 1",
    )

    assert read_limit() == LIMIT


@pytest.mark.parametrize(
    ("member", "folder", "files"),
    [
        pytest.param("0::/system.slice/docker-abc.scope", "", V2, id="version 2"),
        pytest.param("4:memory:/docker/abc", "memory", V1, id="version 1"),
    ],
)
def test_a_container_that_sees_its_own_group_as_the_root_finds_its_limit(
    cgroup: Callable[..., None], member: str, folder: str, files: dict[str, str]
) -> None:
    cgroup(member, folder, **files)

    assert read_limit() == LIMIT


def test_without_a_limit_there_is_what_the_machine_has(cgroup: Callable[..., None]) -> None:
    cgroup("4:memory:/", "memory", **{**V1, "memory__limit_in_bytes": str(2**63 - 4096)})

    assert read_limit().total_bytes > psutil.virtual_memory().total
    assert read_memory().total_bytes == psutil.virtual_memory().total


def test_a_system_without_control_groups_has_no_limit(
    cgroup: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "membership").unlink()

    assert read_limit() == Limit(UNLIMITED, UNLIMITED)


def test_a_limit_lowers_what_the_machine_has(cgroup: Callable[..., None]) -> None:
    files = {"memory__max": str(64 * MIB), "memory__current": str(16 * MIB)}
    cgroup("0::/small", "small", memory__stat="inactive_file 0", **files)

    found = read_hardware()

    assert (found.total_bytes, found.available_bytes) == (64 * MIB, 48 * MIB)
