"""What each process has of the memory of AMD's and Intel's GPUs, as Linux says it.

https://docs.kernel.org/gpu/drm-usage-stats.html (fdinfo). ROCm's is told apart, by its
driver: /sys/class/kfd/kfd/proc/PID/vram_GPU, bytes.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from servers_app.hardware import drm

PROC = Path("/proc")

_LINE: Final = re.compile(r"^(drm-[\w-]+):\s*(\S+)(?: (KiB|MiB))?", re.MULTILINE)
_VRAM: Final = re.compile(r"drm-(?:resident|memory)-(?:vram|local)\d*")
_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20}


def read_drm_processes() -> dict[int, int]:
    """Return the bytes by pid, of the processes that this user may look at."""
    if not drm.has_vram():
        return {}
    kfd = dict(_of_rocm())
    return kfd | {pid: max(kfd.get(pid, 0), taken) for pid, taken in _of_all_drivers() if taken}


def _of_rocm() -> Iterator[tuple[int, int]]:
    for folder in (drm.SYS / "class/kfd/kfd/proc").glob("[0-9]*"):
        taken = 0
        for path in folder.glob("vram_*"):
            with suppress(OSError, ValueError):
                taken += int(path.read_text())
        yield int(folder.name), taken


def _of_all_drivers() -> Iterator[tuple[int, int]]:
    for folder in PROC.glob("[0-9]*"):
        clients: dict[tuple[str, str], int] = {}  # a client may be open more than once
        with suppress(OSError):  # another user's, or it has ended
            for path in (folder / "fdinfo").iterdir():
                with suppress(OSError):
                    _add(path.read_text(errors="replace"), clients)
        yield int(folder.name), sum(clients.values())


def _add(fdinfo: str, clients: dict[tuple[str, str], int]) -> None:
    if "drm-client-id" not in fdinfo:
        return
    said = {key: (value, unit) for key, value, unit in _LINE.findall(fdinfo)}
    client = (said.get("drm-pdev", ("", ""))[0], said["drm-client-id"][0])
    by_kind: dict[str, int] = {}
    for key, (value, unit) in said.items():
        if _VRAM.fullmatch(key) and value.isdigit():
            # `memory` is the old name of `resident`: a driver may write both.
            kind = key.rpartition("-")[2]
            by_kind[kind] = max(by_kind.get(kind, 0), int(value) * _UNITS[unit])
    clients[client] = sum(by_kind.values())
