"""What this machine has: processor, memory, GPUs; and what is free of it now.

GPUs are asked for by NVML, NVIDIA's own library, as nvidia-smi does. Others are not seen;
where they share the machine's memory, as Apple's do, that is as it should be.
"""

import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pynvml

from servers_app.cgroups import read_limit

CPUINFO = Path("/proc/cpuinfo")
ZONEINFO = Path("/proc/zoneinfo")
SYSCTL_TIMEOUT_S = 2

_PAGES_OF_CPU = re.compile(r"^ +count: +(\d+)$", re.MULTILINE)  # below `pagesets`, `cpu: N`


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's, or its container's where that has less.

    Available is what a program can have without swapping: the page cache counts as
    available, and mapped weights are page cache.
    """

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    total_bytes: int
    free_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """A machine at one moment; `notes` are sentences on what could not be seen."""

    cpu: str
    physical_cores: int
    logical_cores: int
    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    gpus: tuple[Gpu, ...]
    notes: tuple[str, ...]
    read_at: float  # Unix time, seconds

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": list(map(asdict, self.gpus)), "notes": list(self.notes)}


def read_hardware() -> Hardware:
    """Look at this machine: some milliseconds, more when the driver of a GPU wakes up."""
    memory = read_memory()
    swap = psutil.swap_memory()
    gpus, notes = read_gpus()
    logical = psutil.cpu_count() or os.cpu_count() or 1
    return Hardware(
        cpu=_cpu_name(),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        total_bytes=memory.total_bytes,
        available_bytes=memory.available_bytes,
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
        gpus=tuple(gpus),
        notes=tuple(notes),
        read_at=time.time(),
    )


def read_memory() -> Memory:
    machine = psutil.virtual_memory()
    limit = read_limit()
    available = min(machine.total, machine.available + _free_of_cpus_bytes())
    return Memory(
        total_bytes=min(machine.total, limit.total_bytes),
        available_bytes=min(available, limit.available_bytes),
    )


def read_gpus() -> tuple[Sequence[Gpu], Sequence[str]]:
    """Return the GPUs that NVML can read, and a sentence for each thing it cannot."""
    gpus: list[Gpu] = []
    notes: list[str] = []
    try:
        with _nvml():
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    gpus.append(_gpu(index))
                except pynvml.NVMLError as error:
                    # One that fell off the bus, or that shares the machine's memory.
                    notes.append(f"GPU {index} is left out: {error}.")
    except pynvml.NVMLError as error:
        notes.append(
            f"No NVIDIA GPU can be seen: {error}. If there is one, see that nvidia-smi runs."
        )
    return gpus, notes


def vram_bytes_by_pid() -> dict[int, int]:
    """Return what each process has of all GPUs together; nothing where NVML fails.

    In a container NVML names processes as the host does, so ours may not be among them.
    """
    taken: Counter[int] = Counter()
    with suppress(pynvml.NVMLError), _nvml():
        for index in range(pynvml.nvmlDeviceGetCount()):
            taken.update(_vram_of_device(index))
    return dict(taken)


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


@contextmanager
def _nvml() -> Iterator[None]:
    """Open NVML anew each time: one kept open fails for good after a driver's update."""
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    return Gpu(pynvml.nvmlDeviceGetName(device), memory.total, memory.free, memory.used)


def _vram_of_device(index: int) -> dict[int, int]:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    taken: dict[int, int] = {}
    for listed in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        for process in listed(device):
            # One that computes and draws is in both lists, with the same figure.
            taken[process.pid] = max(taken.get(process.pid, 0), process.usedGpuMemory or 0)
    return taken


@cache
def _cpu_name() -> str:
    """Return the processor's name as the system has it; ARM's Linux has none."""
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
                capture_output=True,
                text=True,
                timeout=SYSCTL_TIMEOUT_S,
                check=True,
            ).stdout.strip()
    with suppress(OSError):
        for line in CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
