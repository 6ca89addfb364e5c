"""What a machine has: processor, memory, disks, GPUs; and what is free of it now.

`read_hardware()` looks at this machine. What a node has, its worker writes down:
`servers_app/node_hardware.py`, `hardware_of(node)`.
"""

from servers_app.hardware.disks import read_disks
from servers_app.hardware.gpus import own_memory, read_gpus, vram_bytes_by_pid
from servers_app.hardware.ram import read_memory
from servers_app.hardware.reading import forget, read_hardware
from servers_app.hardware.values import Disk, Gpu, Hardware, Memory, without_paths

__all__ = [
    "Disk", "Gpu", "Hardware", "Memory", "forget", "own_memory", "read_disks", "read_gpus",
    "read_hardware", "read_memory", "vram_bytes_by_pid", "without_paths",
]  # fmt: skip
