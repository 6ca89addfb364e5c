"""What the process of a server takes of this machine at the moment, for who looks at it."""

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

import psutil

from servers_app.figures import is_running
from servers_app.lookup import is_here
from servers_app.models import Server
from servers_app.processes import ProcessIdentity, find

MIB: Final = 2**20
AT_LEAST_S: Final = 1.0  # between two looks: the kernel counts in hundredths of a second
AT_MOST_S: Final = 60.0  # an older look says little of now
MAX_LOOKS: Final = 1000


@dataclass(frozen=True, slots=True)
class Load:
    cpu_percent: float  # of one core, since the last look or else since its start
    resident_mib: int


class _Look(NamedTuple):
    at: float  # Unix time, seconds
    cpu_s: float


_looks: dict[ProcessIdentity, _Look] = {}


def load_of(server: Server) -> Load | None:
    """Return what a server takes, its children included.

    None if it does not run, or runs on another machine. It waits for nothing: the time
    between two looks at a page is what the processor is measured over.
    """
    if not (is_running(server) and is_here(server)):
        return None
    if server.pid is None or server.pid_started_at is None:
        return None
    identity = ProcessIdentity(server.pid, server.pid_started_at, server.boot_id)
    process = find(identity)
    if process is None:
        return None
    cpu_s, resident = _taken(process)
    now = _Look(time.time(), cpu_s)
    before = _looks.get(identity)
    if before is None or now.at - before.at >= AT_LEAST_S:
        if len(_looks) >= MAX_LOOKS:
            _looks.clear()
        _looks[identity] = now
    if before is None or not AT_LEAST_S <= now.at - before.at <= AT_MOST_S:
        before = _Look(server.pid_started_at, 0.0)
    # A child that has ended took its seconds with it.
    used_s = max(0.0, now.cpu_s - before.cpu_s)
    return Load(100 * used_s / max(now.at - before.at, 0.01), resident // MIB)


def _taken(process: psutil.Process) -> tuple[float, int]:
    """Return the seconds of processor and the bytes that a family of processes has taken."""
    cpu_s, resident = 0.0, 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return cpu_s, resident
    for member in family:
        try:
            times, memory = member.cpu_times(), member.memory_info()
        except psutil.Error:
            continue
        cpu_s += times.user + times.system
        resident += memory.rss
    return cpu_s, resident
