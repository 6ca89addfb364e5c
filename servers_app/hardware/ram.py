"""Memory: what the machine or its container has, and what is free of it."""

import os
import re
from pathlib import Path

import psutil

from servers_app.cgroups import read_limit
from servers_app.hardware.values import Memory

ZONEINFO = Path("/proc/zoneinfo")

_PAGES_OF_CPU = re.compile(r"^ +count: +(\d+)$", re.MULTILINE)  # below `pagesets`, `cpu: N`


def read_memory() -> Memory:
    machine = psutil.virtual_memory()
    limit = read_limit()
    available = min(machine.total, machine.available + _free_of_cpus_bytes())
    return Memory(
        total_bytes=min(machine.total, limit.total_bytes),
        available_bytes=min(available, limit.available_bytes),
    )


def _free_of_cpus_bytes() -> int:
    """Return the free memory that Linux leaves out of what it calls free and available.

    Each processor keeps pages that a process of its has given back. Since Linux 6.7 they
    may be very many: 1.8 of 24 GB were seen, minutes after the process had ended.
    """
    try:
        counts = _PAGES_OF_CPU.findall(ZONEINFO.read_text())
    except OSError:  # not Linux
        return 0
    return sum(map(int, counts)) * os.sysconf("SC_PAGE_SIZE")
