"""A stand-in for NVIDIA's library: GPUs, processes and failures this machine cannot have."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

MIB = 2**20


@dataclass
class StandInGpu:
    name: str = "NVIDIA L4"
    total_mib: int = 24_000
    free_mib: int = 20_000
    computing: dict[int, int | None] = field(default_factory=dict)  # MiB by pid
    drawing: dict[int, int | None] = field(default_factory=dict)
    error: int = 0  # as NVML numbers them


class StandInNvml:
    """What hardware/nvidia.py uses of the module pynvml."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *gpus: StandInGpu, error: int = 0) -> None:
        self.gpus = gpus
        self.error = error
        self.opened = 0

    def nvmlInit(self) -> None:
        if self.error:
            raise pynvml.NVMLError(self.error)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> StandInGpu:
        assert self.opened
        if self.gpus[index].error:
            raise pynvml.NVMLError(self.gpus[index].error)
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: StandInGpu) -> str:
        return gpu.name

    def nvmlDeviceGetMemoryInfo(self, gpu: StandInGpu) -> Any:
        used = gpu.total_mib - gpu.free_mib
        return SimpleNamespace(
            total=gpu.total_mib * MIB, free=gpu.free_mib * MIB, used=used * MIB
        )

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: StandInGpu) -> list[Any]:
        return _processes(gpu.computing)

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: StandInGpu) -> list[Any]:
        return _processes(gpu.drawing)


def _processes(taken: dict[int, int | None]) -> list[Any]:
    return [
        SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib * MIB)
        for pid, mib in taken.items()
    ]
