"""The processor: its name, its cores, and those of its instructions that llama.cpp uses.

None of it changes while the machine runs, so it is read once; but for what a container may
have of it, which may be changed under a running process.
"""

import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from servers_app.cgroups import read_cpu_limit
from servers_app.hardware import apple

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")
FAST_CPUS = Path("/sys/devices/cpu_core/cpus")  # of an Intel processor with slower ones, too
NUMA_NODES = Path("/sys/devices/system/node/online")

# What llama.cpp has code of its own for, by its name here and in /proc/cpuinfo.
# https://github.com/ggml-org/llama.cpp/tree/master/ggml/src/ggml-cpu/arch (cpu-feats.cpp)
_FLAGS: Final = {
    "sse4_2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "f16c": "f16c",
    "fma": "fma",
    "bmi2": "bmi2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512_vbmi": "avx512vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "neon": "asimd",
    "fp16": "asimdhp",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")


def physical_cores() -> int:
    return _physical_cores() or logical_cores()


def logical_cores() -> int:
    return psutil.cpu_count() or os.cpu_count() or 1


def cpu_limit() -> float | None:
    """Return how many processors this process may use; None where all of them."""
    limits = [read_cpu_limit()]
    if hasattr(os, "sched_getaffinity"):
        limits.append(float(len(os.sched_getaffinity(0))))
    limit = min((limit for limit in limits if limit is not None), default=None)
    return limit if limit is not None and limit < logical_cores() else None


@cache
def cpu_name() -> str:
    """Return the processor's name as the system has it; ARM's Linux has none."""
    if apple.IS_MAC and (name := apple.sysctl().get("machdep.cpu.brand_string")):
        return name
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@cache
def cpu_flags() -> tuple[str, ...]:
    """Return what the processor can do of what matters to llama.cpp."""
    if apple.IS_MAC:
        has = apple.cpu_flags()
        return tuple(flag for flag in _FLAGS if flag in has)
    has = frozenset(_cpuinfo("flags", "Features").split())
    return tuple(flag for flag, kernels in _FLAGS.items() if kernels in has)


@cache
def performance_cores() -> int | None:
    """Return how many cores are the fast ones; None where all are alike or nobody says."""
    if apple.IS_MAC:
        return apple.performance_cores()
    with suppress(OSError):
        fast = numbers(FAST_CPUS.read_text())
        cores = {(CPUS / f"cpu{cpu}/topology/core_cpus_list").read_text() for cpu in fast}
        return _if_fewer(len(cores))
    capacities = []
    for path in CPUS.glob("cpu[0-9]*/cpu_capacity"):  # ARM's big and little
        with suppress(OSError, ValueError):
            capacities.append(int(path.read_text()))
    return _if_fewer(capacities.count(max(capacities))) if capacities else None


@cache
def numa_nodes() -> int:
    try:
        return max(1, len(numbers(NUMA_NODES.read_text())))
    except OSError:
        return 1


@cache
def last_cache_bytes() -> int:
    """Return the size of the largest cache; 0 where the system does not say."""
    if apple.IS_MAC:
        told = apple.sysctl()
        names = ("hw.l3cachesize", "hw.l2cachesize", "hw.perflevel0.l2cachesize")
        return max(
            (int(told[name]) for name in names if told.get(name, "").isdigit()), default=0
        )
    largest = 0
    for path in (CPUS / "cpu0/cache").glob("index*/size"):
        with suppress(OSError, ValueError):
            largest = max(largest, int(path.read_text().strip().removesuffix("K")) * 1024)
    return largest


def forget() -> None:
    """Have all of it read anew."""
    for kept in (
        _physical_cores,
        cpu_name,
        cpu_flags,
        performance_cores,
        numa_nodes,
        last_cache_bytes,
    ):
        kept.cache_clear()


def numbers(text: str) -> set[int]:
    """Return the numbers of a list as the kernel writes it: `0-3,8`."""
    found: set[int] = set()
    for first, last in _RANGE.findall(text):
        found.update(range(int(first), int(last or first) + 1))
    return found


@cache
def _physical_cores() -> int | None:
    return psutil.cpu_count(logical=False)


def _if_fewer(cores: int) -> int | None:
    return cores if 0 < cores < physical_cores() else None


def _cpuinfo(*keys: str) -> str:
    """Return the value of the first line with one of `keys`: that of the first processor."""
    with suppress(OSError), CPUINFO.open(errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() in keys:
                return value.strip()
    return ""
