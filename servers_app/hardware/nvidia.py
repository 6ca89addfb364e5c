"""NVIDIA's GPUs, by NVML: NVIDIA's own library, which nvidia-smi asks, too."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pynvml

from servers_app.hardware.values import Gpu

VENDOR = "NVIDIA"


def read_nvidia() -> tuple[Sequence[Gpu], Sequence[str]]:
    """Return the GPUs that NVML can read, and a sentence for each thing it cannot."""
    gpus: list[Gpu] = []
    notes: list[str] = []
    try:
        with _nvml():
            driver = _driver()
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    gpus.append(_gpu(index, driver))
                except pynvml.NVMLError as error:
                    # One that fell off the bus.
                    notes.append(f"GPU {index} is left out: {error}.")
    except pynvml.NVMLError as error:
        notes.append(
            f"No NVIDIA GPU can be seen: {error}. If there is one, see that nvidia-smi runs."
        )
    return gpus, notes


def vram_bytes_by_pid() -> dict[int, int]:
    """Return what each process has of NVIDIA's GPUs together; nothing where NVML fails.

    A GPU that fails is left out, as `read_nvidia` does. In a container NVML names processes
    as the host does, so ours may not be among them.
    """
    taken: Counter[int] = Counter()
    with suppress(pynvml.NVMLError), _nvml():
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):
                taken.update(_vram_of_device(index))
    return dict(taken)


@contextmanager
def _nvml() -> Iterator[None]:
    """Open NVML anew each time: one kept open fails for good after a driver's update."""
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _driver() -> str:
    with suppress(pynvml.NVMLError):
        return f"nvidia {pynvml.nvmlSystemGetDriverVersion()}"
    return "nvidia"


def _gpu(index: int, driver: str) -> Gpu:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = pynvml.nvmlDeviceGetName(device)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        # One on the processor's chip (GB10, Jetson) has no memory of its own to tell of.
        return Gpu(name, 0, 0, 0, VENDOR, driver, shares_memory=True)
    return Gpu(name, memory.total, memory.free, memory.used, VENDOR, driver)


def _vram_of_device(index: int) -> dict[int, int]:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    taken: dict[int, int] = {}
    for listed in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        with suppress(pynvml.NVMLError):  # one of the lists alone may not be supported
            for process in listed(device):
                # One that computes and draws is in both lists, with the same figure.
                taken[process.pid] = max(taken.get(process.pid, 0), process.usedGpuMemory or 0)
    return taken
