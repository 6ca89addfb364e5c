"""Know a process again: a pid is believed only with its start time and boot.

A pid is reused; the three together are not. Nothing here trusts a bare pid.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

# Start times come from the kernel's clock ticks (10 ms) plus the boot time, which
# psutil rounds to a second on some systems.
START_TIME_TOLERANCE_S = 1.5

# It ended between the look and the signal: what was wanted.
GONE = (psutil.NoSuchProcess, ProcessLookupError)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    pid: int
    started_at: float  # Unix time, seconds
    boot_id: str


@cache
def boot_id() -> str:
    """Return what is new at every boot: Linux's boot id, else the boot time."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


@cache
def pid_namespace() -> int:
    """Return which pids this process sees, as its container has them; 0 if the system has one.

    https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
    """
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def identify(pid: int) -> ProcessIdentity | None:
    """Return who has `pid` now, or None when nobody has it."""
    try:
        return ProcessIdentity(pid, psutil.Process(pid).create_time(), boot_id())
    except psutil.NoSuchProcess:
        return None


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """Return the living process that `identity` names; a zombie counts as dead."""
    if identity.boot_id != boot_id():
        return None
    try:
        process = psutil.Process(identity.pid)
        if abs(process.create_time() - identity.started_at) > START_TIME_TOLERANCE_S:
            return None
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def terminate(identity: ProcessIdentity) -> None:
    """Send SIGTERM, once: llama-server takes a second one as an order to drop dead."""
    if process := find(identity):
        with suppress(*GONE):
            process.send_signal(signal.SIGTERM)


def kill(identity: ProcessIdentity) -> None:
    """Send SIGKILL; its keeper lives on to write down how it ended."""
    if process := find(identity):
        with suppress(*GONE):
            process.kill()


def kill_group(leader: ProcessIdentity) -> None:
    """Send SIGKILL to every process of the group that `leader` leads."""
    if find(leader):
        with suppress(*GONE):
            os.killpg(leader.pid, signal.SIGKILL)
