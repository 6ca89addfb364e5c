"""The limits that a container or a service has, as Linux' control groups say them.

https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current, memory.stat,
cpu.max)
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")  # lines of hierarchy:controllers:path
UNLIMITED: Final = 2**63


class _Files(NamedTuple):
    """What a version of control groups calls its files, and the lines of memory.stat."""

    limit: str
    usage: str
    file_lines: tuple[str, str]


_V1: Final = _Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)
_V2: Final = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


@dataclass(frozen=True, slots=True)
class Limit:
    """Both are UNLIMITED where nothing is limited."""

    total_bytes: int = UNLIMITED
    available_bytes: int = UNLIMITED


def read_limit() -> Limit:
    """Return what this process's group may have, and what is left of it.

    A group is held to the limits of those it is in, too. Page cache counts as left, as it
    does for the machine.
    """
    limits = [
        limit
        for is_v2, folder in _groups("memory")
        if (limit := _limit_of(folder, _V2 if is_v2 else _V1)) is not None
    ]
    return Limit(
        min((limit.total_bytes for limit in limits), default=UNLIMITED),
        min((limit.available_bytes for limit in limits), default=UNLIMITED),
    )


def read_cpu_limit() -> float | None:
    """Return how many processors' time this process's group may have; None: all of it."""
    limits = [_cpus_of(folder, is_v2=is_v2) for is_v2, folder in _groups("cpu")]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(controller: str) -> Iterator[tuple[bool, Path]]:
    """Yield the folders of our group and of those it is in; whether they are of version 2."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            is_v2, base = True, ROOT
        elif controller in controllers.split(","):
            is_v2, base = False, ROOT / controller
        else:
            continue
        # A container may see its own group as the root, and the path of the host.
        folder = base / path.lstrip("/")
        while folder != base and folder.is_relative_to(base):
            yield is_v2, folder
            folder = folder.parent
        yield is_v2, base


def _limit_of(folder: Path, files: _Files) -> Limit | None:
    try:
        total = int((folder / files.limit).read_text())
        usage = int((folder / files.usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return None
    cached = sum(int(stat.get(name, 0)) for name in files.file_lines)
    return Limit(total, max(0, total - usage + cached))


def _cpus_of(folder: Path, *, is_v2: bool) -> float | None:
    try:
        if is_v2:
            quota, period = map(int, (folder / "cpu.max").read_text().split())
        else:
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return quota / period if quota > 0 and period > 0 else None
