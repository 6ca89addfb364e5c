"""The disks that models lie on and downloads go to: what they have, and what is free.

A network drive whose server is away lets who asks wait for ever. So each folder is asked
for in a thread of its own, and one that does not answer is said not to.
"""

import os
import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from servers_app.hardware.values import Disk

BLOCK_DEVICES = Path("/sys/dev/block")
WAIT_S: Final = 2.0  # for all folders together

_NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|afpfs|9p|ceph|glusterfs|lustre|beegfs|gpfs|webdav|davfs|"
    r"fuse\.(sshfs|rclone|s3fs|glusterfs|ceph|juicefs|gcsfuse)"
)
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_VIRTUAL: Final = re.compile(r"vd|xvd|sr|loop|dm-|md|zram")  # they hide what is below


@dataclass(frozen=True, slots=True)
class _Place:
    """The file system that a folder is on."""

    device: int
    mount: Path
    total_bytes: int
    free_bytes: int
    is_missing: bool  # the folder itself; it is what holds it then


@dataclass(slots=True)
class _Look:
    """At one folder; it may hang."""

    begun_at: float = field(default_factory=time.monotonic)
    is_done: threading.Event = field(default_factory=threading.Event)
    found: list[_Place | OSError] = field(default_factory=list)


_under_way: dict[str, _Look] = {}
_guard: Final = threading.Lock()


def read_disks(
    scan_roots: Sequence[str], downloads: Sequence[str], *, wait_s: float = WAIT_S
) -> tuple[tuple[Disk, ...], tuple[str, ...]]:
    """Return the disks that these folders are on, and a sentence for each that does not tell.

    A folder of downloads need not be there yet: it is where its parents are. One that hangs
    is waited for once, not again with each look.
    """
    looks = {folder: _begin(folder) for folder in dict.fromkeys((*scan_roots, *downloads))}
    places, notes = _answers(looks, frozenset(scan_roots), wait_s)
    mounted = _filesystems()
    disks = []
    for device in dict.fromkeys(place.device for place in places.values()):
        there = [folder for folder, place in places.items() if place.device == device]
        place = places[there[0]]
        filesystem = mounted.get(str(place.mount), "")
        disks.append(
            Disk(
                path=str(place.mount),
                total_bytes=place.total_bytes,
                free_bytes=place.free_bytes,
                kind=_kind(place.device, filesystem),
                filesystem=filesystem,
                scan_roots=_among(scan_roots, there),
                downloads=_among(downloads, there),
            )
        )
    return tuple(disks), tuple(notes)


def _answers(
    looks: Mapping[str, _Look], scan_roots: Collection[str], wait_s: float
) -> tuple[dict[str, _Place], list[str]]:
    """Wait for what each folder says; a sentence for each that says nothing."""
    places: dict[str, _Place] = {}
    notes: list[str] = []
    for folder, look in looks.items():
        if not look.is_done.wait(max(0.0, look.begun_at + wait_s - time.monotonic())):
            notes.append(
                f"The disk of {folder} does not answer. If it is a network drive, see that "
                "its server runs."
            )
            continue
        _end(folder, look)
        place = look.found[0]
        if isinstance(place, OSError):
            notes.append(f"The disk of {folder} cannot be read: {place.strerror or place}.")
        elif place.is_missing and folder in scan_roots:
            notes.append(f"The scan root {folder} is not there: is its disk mounted?")
        else:
            places[folder] = place
    return places, notes


def _begin(folder: str) -> _Look:
    """Start to look at a folder, or go on to wait for the look that hangs."""
    with _guard:
        if (look := _under_way.get(folder)) is not None:
            return look
        look = _under_way[folder] = _Look()
    try:
        threading.Thread(target=_run, args=(folder, look), name="disk", daemon=True).start()
    except RuntimeError as error:  # there are too many
        look.found.append(OSError(str(error)))
        look.is_done.set()
    return look


def _end(folder: str, look: _Look) -> None:
    with _guard:
        if _under_way.get(folder) is look:
            del _under_way[folder]


def _run(folder: str, look: _Look) -> None:
    try:
        look.found.append(_place(Path(folder)))
    except OSError as error:
        look.found.append(error)
    except (RuntimeError, ValueError) as error:  # links in a circle; no path at all
        look.found.append(OSError(str(error)))
    finally:
        look.is_done.set()


def _place(folder: Path) -> _Place:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    real = there.resolve()
    space, device = os.statvfs(real), real.stat().st_dev
    mount = real
    while mount != mount.parent and mount.parent.stat().st_dev == device:
        mount = mount.parent
    return _Place(
        device=device,
        mount=mount,
        total_bytes=space.f_frsize * space.f_blocks,
        free_bytes=space.f_frsize * space.f_bavail,
        is_missing=there != folder,
    )


def _filesystems() -> dict[str, str]:
    """Return the kinds of file systems by where they are mounted; the last one hides others."""
    with suppress(OSError, RuntimeError):
        return {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    return {}


def _kind(device: int, filesystem: str) -> str:
    if _NETWORK.fullmatch(filesystem):
        return "network"
    if filesystem in _MEMORY:
        return "memory"
    with suppress(OSError):
        there = (BLOCK_DEVICES / f"{os.major(device)}:{os.minor(device)}").resolve(strict=True)
        if (there / "partition").exists():
            there = there.parent
        if there.name.startswith("nvme"):
            return "nvme"
        if not _VIRTUAL.match(there.name):
            return "hdd" if (there / "queue/rotational").read_text().strip() == "1" else "ssd"
    return ""


def _among(wanted: Iterable[str], there: Sequence[str]) -> tuple[str, ...]:
    return tuple(folder for folder in dict.fromkeys(wanted) if folder in there)
