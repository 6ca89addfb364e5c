"""GPUs of AMD and Intel: what is said of them, and what of those that cannot be used."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers_app.hardware import drm, drm_processes, own_memory, pci, read_gpus
from servers_app.hardware.drm import read_drm
from servers_app.hardware.drm_processes import read_drm_processes
from tests.servers_app.hardware.sysfs import AMD, GIB, INTEL, NVIDIA, Sysfs, metrics


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path / "sys")


@pytest.fixture(autouse=True)
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of PCI's names of the test's own."""
    listed = tmp_path / "pci.ids"
    listed.write_text(
        "# a comment\n1002  Advanced Micro Devices, Inc. [AMD/ATI]\n"
        "\t744c  Navi 31 [Radeon RX 7900 XTX]\n\t\t1002 0e3b  a subsystem\n"
        "8086  Intel Corporation\n\t744c  Arc A770\n"
    )
    monkeypatch.setattr(pci, "LISTS", (tmp_path / "none", listed))
    pci.device_name.cache_clear()


def test_an_amd_gpu_says_its_name_its_memory_and_its_driver(sysfs: Sysfs) -> None:
    device = sysfs.amd(24 * GIB, 4 * GIB, product_name="AMD Instinct MI210")
    (device / "gpu_metrics").write_bytes(metrics(1))
    module = device / "driver/module"
    module.mkdir()
    (module / "version").write_text("6.12.12\n")

    (gpu,), notes = read_drm(sysfs.root)

    assert (gpu.name, gpu.vendor, gpu.driver) == ("AMD Instinct MI210", "AMD", "amdgpu 6.12.12")
    assert (gpu.total_bytes, gpu.used_bytes, gpu.free_bytes) == (24 * GIB, 4 * GIB, 20 * GIB)
    assert not gpu.shares_memory
    assert notes == []


def test_a_gpu_without_a_name_of_its_own_is_called_what_it_is_sold_as(sysfs: Sysfs) -> None:
    sysfs.amd(GIB, 0)

    (gpu,), _ = read_drm(sysfs.root)

    assert gpu.name == "Radeon RX 7900 XTX"


def test_a_gpu_in_no_list_is_called_by_its_number(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pci, "LISTS", ())
    sysfs.amd(GIB, 0)

    (gpu,), _ = read_drm(sysfs.root)

    assert gpu.name == "GPU 0x744c"


@pytest.mark.parametrize(("revision", "shares"), [(1, False), (2, True), (3, True)])
def test_an_amd_gpu_on_the_processors_chip_shares_the_machines_memory(
    sysfs: Sysfs, revision: int, shares: bool
) -> None:
    device = sysfs.amd(GIB // 2, 0)
    (device / "gpu_metrics").write_bytes(metrics(revision))

    (gpu,), _ = read_drm(sysfs.root)

    assert gpu.shares_memory is shares
    assert list(own_memory([gpu])) == ([] if shares else [gpu])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param({}, "No such file", id="an old driver"),
        pytest.param(
            {"mem_info_vram_total": "", "mem_info_vram_used": "0"}, "invalid literal", id="hung"
        ),
    ],
)
def test_a_gpu_whose_driver_does_not_tell_is_a_note_and_the_others_stay(
    sysfs: Sysfs, files: dict[str, str], says: str
) -> None:
    sysfs.gpu(AMD, address="0000:01:00.0", driver="radeon", files=files)
    sysfs.amd(GIB, 0)

    gpus, (note,) = read_drm(sysfs.root)

    assert [gpu.total_bytes for gpu in gpus] == [GIB]
    assert note.startswith("AMD Radeon RX 7900 XTX (card0) is left out: its driver radeon")
    assert says in note


@pytest.mark.parametrize(
    ("vendor", "install"), [(AMD, "amdgpu"), (INTEL, "i915 or xe"), (NVIDIA, "NVIDIA's own")]
)
def test_a_gpu_that_no_driver_has_taken_is_a_note(
    sysfs: Sysfs, vendor: str, install: str
) -> None:
    sysfs.gpu(vendor, address="0000:41:00.0")

    gpus, (note,) = read_drm(sysfs.root)

    assert gpus == []
    assert "at 0000:41:00.0 has no driver" in note
    assert f"Install {install}," in note


def test_a_display_that_is_no_gpu_of_these_is_passed_over(sysfs: Sysfs) -> None:
    sysfs.gpu("0x1234")
    sysfs.gpu("0x1a03", address="0000:04:00.0", driver="ast")

    assert read_drm(sysfs.root) == ([], [])


def test_nouveau_is_a_note_and_nvidias_own_driver_is_left_to_nvml(sysfs: Sysfs) -> None:
    sysfs.gpu(NVIDIA, address="0000:01:00.0", driver="nouveau")
    sysfs.gpu(NVIDIA, address="0000:02:00.0", driver="nvidia")

    gpus, (note,) = read_drm(sysfs.root)

    assert gpus == []
    assert "runs with the driver nouveau, which no engine can use" in note


def test_an_intel_gpu_on_the_chip_has_no_memory_of_its_own(sysfs: Sysfs) -> None:
    sysfs.gpu(INTEL, address="0000:00:02.0", driver="i915")

    (gpu,), notes = read_drm(sysfs.root)

    assert (gpu.vendor, gpu.total_bytes, gpu.shares_memory) == ("Intel", 0, True)
    assert notes == []


def test_an_intel_card_has_the_memory_that_pci_shows_of_it(sysfs: Sysfs) -> None:
    first = 0x6000000000
    windows = (
        f"0x00000000b0000000 0x00000000b0ffffff 0x0000000000140204\n"
        f"{0:#018x} {0:#018x} {0:#018x}\n"
        f"{first:#018x} {first + 16 * GIB - 1:#018x} 0x000000000014220c\n"
    )
    sysfs.gpu(INTEL, driver="xe", files={"resource": windows})

    (gpu,), notes = read_drm(sysfs.root)

    assert (gpu.name, gpu.total_bytes, gpu.shares_memory) == ("Arc A770", 16 * GIB, False)
    assert notes == []


def test_a_card_whose_memory_nobody_tells_is_shown_and_not_counted(sysfs: Sysfs) -> None:
    window = "0xb0000000 0xbfffffff 0x140204"  # 256 MiB
    sysfs.gpu(INTEL, driver="xe", files={"resource": window})

    (gpu,), (note,) = read_drm(sysfs.root)

    assert gpu.total_bytes == 0
    assert "How much memory Arc A770 has, Linux does not say" in note
    assert own_memory([gpu]) == []


def test_all_gpus_of_a_machine_are_read_together(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drm, "SYS", sysfs.root)
    sysfs.amd(GIB, 0)
    sysfs.gpu(INTEL, address="0000:00:02.0", driver="i915")

    gpus, notes = read_gpus()

    assert [gpu.vendor for gpu in gpus if gpu.vendor != "NVIDIA"] == ["AMD", "Intel"]
    assert all("AMD" not in note for note in notes)


def test_a_driver_that_may_not_be_looked_at_leaves_the_gpu_without_its_name(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs.amd(8 * GIB, 0)
    stat, lstat = os.stat, os.lstat

    def refused(path: Any, look: Callable[..., Any], **options: Any) -> Any:
        if str(path).endswith("/driver"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path, **options)

    monkeypatch.setattr(os, "stat", lambda path, **more: refused(path, stat, **more))
    monkeypatch.setattr(os, "lstat", lambda path, **more: refused(path, lstat, **more))

    (gpu,), _ = read_drm(sysfs.root)

    assert (gpu.total_bytes, gpu.driver) == (8 * GIB, "")


def test_a_machine_without_sysfs_has_no_such_gpus(tmp_path: Path) -> None:
    assert read_drm(tmp_path / "none") == ([], [])


# -- what processes have of them

CLIENT = """\
pos:\t0
flags:\t02100002
drm-driver:\tamdgpu
drm-client-id:\t{client}
drm-pdev:\t0000:03:00.0
drm-memory-vram:\t{kib} KiB
drm-resident-vram:\t{kib} KiB
drm-memory-gtt:\t999 KiB
"""


@pytest.fixture
def processes(sysfs: Sysfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a /proc of the test's own, of a machine with an AMD GPU."""
    sysfs.amd(GIB, 0)
    monkeypatch.setattr(drm, "SYS", sysfs.root)
    proc = tmp_path / "proc"
    monkeypatch.setattr(drm_processes, "PROC", proc)
    for pid, texts in {
        7: [CLIENT.format(client=1, kib=1000), CLIENT.format(client=1, kib=1000)],
        8: [CLIENT.format(client=2, kib=10), CLIENT.format(client=3, kib=20)],
        9: ["pos:\t0\nflags:\t02\n"],
    }.items():
        folder = proc / str(pid) / "fdinfo"
        folder.mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / str(number)).write_text(text)
    (proc / "10").mkdir()  # it has ended
    return proc


@pytest.mark.usefixtures("processes")
def test_a_process_has_what_its_clients_have_each_counted_once() -> None:
    assert read_drm_processes() == {7: 1000 * 1024, 8: 30 * 1024}


@pytest.mark.usefixtures("processes")
def test_what_rocm_says_of_a_process_counts_where_it_is_more(sysfs: Sysfs) -> None:
    for pid, taken in ((7, 5), (11, 6)):
        folder = sysfs.root / f"class/kfd/kfd/proc/{pid}"
        folder.mkdir(parents=True)
        (folder / "vram_51501").write_text(f"{taken * 1024}\n")

    assert read_drm_processes() == {7: 1000 * 1024, 8: 30 * 1024, 11: 6 * 1024}


def test_no_process_is_looked_at_where_there_is_no_such_gpu(
    processes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drm, "SYS", tmp_path / "none")

    assert list(processes.iterdir())
    assert read_drm_processes() == {}
