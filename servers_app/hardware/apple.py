"""What macOS says of a Mac: by `sysctl`, and of its GPUs by `system_profiler`."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from servers_app.hardware.values import Gpu

IS_MAC = sys.platform == "darwin"
SYSCTL = "/usr/sbin/sysctl"
SYSTEM_PROFILER = "/usr/sbin/system_profiler"
SYSCTL_TIMEOUT_S: Final = 2
PROFILER_TIMEOUT_S: Final = 10  # it takes a second or two

_NAMES: Final = (
    "machdep.cpu.brand_string",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "hw.nperflevels",
    "hw.perflevel0.physicalcpu",
    "hw.l2cachesize",
    "hw.l3cachesize",
    "hw.perflevel0.l2cachesize",
    "hw.optional.AdvSIMD",
    "hw.optional.arm.FEAT_FP16",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.optional.arm.FEAT_SME",
)
_ARM: Final = {
    "neon": "hw.optional.AdvSIMD",
    "fp16": "hw.optional.arm.FEAT_FP16",
    "dotprod": "hw.optional.arm.FEAT_DotProd",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "bf16": "hw.optional.arm.FEAT_BF16",
    "sme": "hw.optional.arm.FEAT_SME",
}
_INTEL: Final = {"AVX1.0": "avx", "SSE4.2": "sse4_2"}
_VENDORS: Final = {
    "sppci_vendor_Apple": "Apple",
    "sppci_vendor_amd": "AMD",
    "sppci_vendor_Intel": "Intel",
}
_UNITS: Final = {"MB": 2**20, "GB": 2**30}


@cache
def sysctl() -> Mapping[str, str]:
    """Return what the system has of the names above; those it does not know are not in it."""
    said = _run([SYSCTL, *_NAMES], SYSCTL_TIMEOUT_S)
    lines = (line.partition(": ") for line in (said or "").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def cpu_flags() -> frozenset[str]:
    told = sysctl()
    arm = {flag for flag, name in _ARM.items() if told.get(name) == "1"}
    intel = " ".join(
        told.get(name, "") for name in ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    ).split()
    return frozenset(arm | {_INTEL.get(flag, flag.lower()) for flag in intel})


def performance_cores() -> int | None:
    told = sysctl()
    if told.get("hw.nperflevels", "1") == "1":
        return None
    cores = told.get("hw.perflevel0.physicalcpu", "")
    return int(cores) if cores.isdigit() else None


@cache
def read_apple() -> tuple[Sequence[Gpu], Sequence[str]]:
    """Return the GPUs of a Mac: the first look takes a second or two."""
    if not IS_MAC:
        return (), ()
    said = _run([SYSTEM_PROFILER, "SPDisplaysDataType", "-json"], PROFILER_TIMEOUT_S)
    try:
        found = json.loads(said or "")["SPDisplaysDataType"]
        return [_gpu(entry) for entry in found], ()
    except (ValueError, KeyError, TypeError, AttributeError):
        return (), ["The GPUs cannot be seen: system_profiler gave no answer that can be read."]


def forget() -> None:
    """Have it all asked anew."""
    sysctl.cache_clear()
    read_apple.cache_clear()


def _gpu(entry: Mapping[str, Any]) -> Gpu:
    name = str(entry.get("sppci_model") or entry.get("_name") or "GPU")
    if cores := entry.get("sppci_cores"):
        name = f"{name}, {cores} cores"
    vendor = str(entry.get("spdisplays_vendor", ""))
    # Its own memory only where it has some: "spdisplays_vram_shared" is the machine's.
    total = _size_bytes(str(entry.get("spdisplays_vram", "")))
    return Gpu(
        name,
        total,
        total,
        0,
        _VENDORS.get(vendor, vendor.partition(" ")[0]),
        "Metal",
        shares_memory=not total,
    )


def _size_bytes(text: str) -> int:
    """Return the bytes of a text such as `8 GB`; 0 for one that is none."""
    number, _, unit = text.partition(" ")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return 0


def _run(argv: Sequence[str], timeout_s: float) -> str | None:
    """Return what a program prints; it may fail for one of many names it is asked for."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
