"""All GPUs of this machine, each by what its vendor has for it."""

from collections import Counter
from collections.abc import Sequence

from servers_app.hardware import nvidia
from servers_app.hardware.apple import read_apple
from servers_app.hardware.drm import read_drm
from servers_app.hardware.drm_processes import read_drm_processes
from servers_app.hardware.values import Gpu


def read_gpus() -> tuple[Sequence[Gpu], Sequence[str]]:
    """Return the GPUs that can be read, and a sentence for each thing that cannot."""
    looks = (nvidia.read_nvidia(), read_drm(), read_apple())
    gpus = [gpu for found, _ in looks for gpu in found]
    notes = [note for _, said in looks for note in said]
    return gpus, notes


def own_memory(gpus: Sequence[Gpu]) -> Sequence[Gpu]:
    """Return those whose memory is counted apart from the machine's.

    What runs on the others takes the machine's, or what nobody can tell.
    """
    return [gpu for gpu in gpus if gpu.total_bytes and not gpu.shares_memory]


def vram_bytes_by_pid() -> dict[int, int]:
    """Return what each process has of all GPUs together, where their drivers say it."""
    taken = Counter(nvidia.vram_bytes_by_pid())
    taken.update(read_drm_processes())
    return dict(taken)
