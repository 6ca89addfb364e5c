"""This machine at this moment."""

import time

import psutil

from servers_app.hardware import apple, pci, processor
from servers_app.hardware.gpus import read_gpus
from servers_app.hardware.ram import read_memory
from servers_app.hardware.values import Hardware


def read_hardware() -> Hardware:
    """Look at this machine: some milliseconds, more when the driver of a GPU wakes up.

    Its disks and its memory bandwidth are not in it: `node_hardware.py` adds those.
    """
    memory = read_memory()
    swap = psutil.swap_memory()
    gpus, notes = read_gpus()
    return Hardware(
        cpu=processor.cpu_name(),
        physical_cores=processor.physical_cores(),
        logical_cores=processor.logical_cores(),
        total_bytes=memory.total_bytes,
        available_bytes=memory.available_bytes,
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
        gpus=tuple(gpus),
        notes=tuple(notes),
        read_at=time.time(),
        cpu_flags=processor.cpu_flags(),
        performance_cores=processor.performance_cores(),
        cpu_limit=processor.cpu_limit(),
        numa_nodes=processor.numa_nodes(),
    )


def forget() -> None:
    """Have what does not change by the second read anew."""
    processor.forget()
    apple.forget()
    pci.device_name.cache_clear()
