"""Disks: those that models are on and downloads go to, and those that do not answer."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from servers_app.hardware import disks
from servers_app.hardware.disks import read_disks


def test_folders_of_one_disk_are_one_row(tmp_path: Path) -> None:
    roots = [str(tmp_path / "a"), str(tmp_path / "b")]
    for root in roots:
        Path(root).mkdir()
    downloads = str(tmp_path / "not" / "there" / "yet")

    (disk,), notes = read_disks(roots, [downloads])

    assert Path(disk.path).is_mount()
    assert tmp_path.is_relative_to(disk.path)
    assert 0 < disk.free_bytes <= disk.total_bytes
    assert disk.total_bytes == psutil.disk_usage(str(tmp_path)).total
    assert disk.scan_roots == tuple(roots)
    assert disk.downloads == (downloads,)
    assert notes == ()


def test_a_folder_that_is_both_is_said_to_be_both(tmp_path: Path) -> None:
    (disk,), _ = read_disks([str(tmp_path)], [str(tmp_path)])

    assert disk.scan_roots == disk.downloads == (str(tmp_path),)


def test_a_scan_root_that_is_gone_is_a_note_and_no_other_disk(tmp_path: Path) -> None:
    found, (note,) = read_disks([str(tmp_path / "gone")], [])

    assert found == ()
    assert "is not there: is its disk mounted?" in note


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have every disk below /net hang until the event is set."""
    back, real = threading.Event(), disks._place

    def place(folder: Path) -> disks._Place:
        if folder.is_relative_to("/net"):
            back.wait(30)
            return real(Path("/"))
        return real(folder)

    monkeypatch.setattr(disks, "_place", place)
    yield back
    back.set()
    read_disks(["/net/models"], [])


def test_a_disk_that_hangs_is_said_to_and_the_others_are_told(
    hanging: threading.Event, tmp_path: Path
) -> None:
    found, (note,) = read_disks(["/net/models", str(tmp_path)], [], wait_s=0.2)

    assert [disk.scan_roots for disk in found] == [(str(tmp_path),)]
    assert note.startswith("The disk of /net/models does not answer.")


def test_a_disk_that_hangs_has_one_thread_however_often_it_is_looked_at(
    hanging: threading.Event,
) -> None:
    def threads() -> int:
        return sum(thread.name == "disk" for thread in threading.enumerate())

    read_disks(["/net/models"], [], wait_s=0.1)
    one = threads()
    for _ in range(3):
        read_disks(["/net/models"], [], wait_s=0.1)

    assert threads() == one
    hanging.set()
    (disk,), notes = read_disks(["/net/models"], [], wait_s=10)
    assert disk.path == "/"
    assert notes == ()


def test_a_disk_that_cannot_be_read_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disks, "_place", refuse)

    assert read_disks(["/secret"], []) == (
        (),
        ("The disk of /secret cannot be read: Permission denied.",),
    )


@pytest.mark.parametrize("path", ["circle", "no\0path"])
def test_a_folder_that_is_none_is_a_note(tmp_path: Path, path: str) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")

    found, notes = read_disks([str(tmp_path / path)], [str(tmp_path)])

    assert [disk.downloads for disk in found] == [(str(tmp_path),)]
    assert len(notes) == 1


@pytest.fixture
def block_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where sysfs has the disks; the one with this test's files is its own."""
    folder = tmp_path / "block"
    folder.mkdir()
    monkeypatch.setattr(disks, "BLOCK_DEVICES", folder)
    return folder


@pytest.mark.parametrize(
    ("device", "rotational", "kind"),
    [
        pytest.param("sda/sda1", "1", "hdd", id="hard disk"),
        pytest.param("sdb", "0", "ssd", id="SSD"),
        pytest.param("nvme0n1/nvme0n1p1", "0", "nvme", id="NVMe"),
        pytest.param("vda/vda1", "1", "", id="a guest's"),
    ],
)
def test_what_a_disk_is_the_kernel_says(
    block_devices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    rotational: str,
    kind: str,
) -> None:
    mounted = SimpleNamespace(mountpoint="/none", fstype="ext4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_all: [mounted])
    whole, _, partition = device.partition("/")
    folder = tmp_path / "devices" / whole
    (folder / "queue").mkdir(parents=True)
    (folder / "queue/rotational").write_text(f"{rotational}\n")
    if partition:
        (folder / partition).mkdir()
        (folder / partition / "partition").write_text("1\n")
    number = tmp_path.stat().st_dev
    (block_devices / f"{os.major(number)}:{os.minor(number)}").symlink_to(folder / partition)

    (disk,), _ = read_disks([str(tmp_path)], [])

    assert disk.kind == kind


@pytest.mark.parametrize(
    ("filesystem", "kind"),
    [
        ("nfs4", "network"),
        ("cifs", "network"),
        ("fuse.sshfs", "network"),
        ("tmpfs", "memory"),
        ("zfs", ""),
    ],
)
def test_what_no_disk_is_below_is_told_by_its_file_system(
    block_devices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    filesystem: str,
    kind: str,
) -> None:
    (mount,), _ = read_disks([str(tmp_path)], [])
    mounted = SimpleNamespace(mountpoint=mount.path, fstype=filesystem)
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_all: [mounted])

    (disk,), _ = read_disks([str(tmp_path)], [])

    assert (disk.filesystem, disk.kind) == (filesystem, kind)
