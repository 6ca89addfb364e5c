"""A sysfs of a test's own: GPUs that this machine does not have."""

import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"
GIB = 2**30


class Sysfs:
    """What hardware/drm.py reads of /sys, below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cards = 0

    def gpu(
        self,
        vendor: str,
        *,
        address: str = "0000:03:00.0",
        driver: str = "",
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> Path:
        """Add a GPU; without a driver the kernel makes no card of it."""
        device = self.root / "devices" / address
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text("0x030000\n")
        (device / "device").write_text("0x744c\n")
        for name, text in files.items():
            (device / name).write_text(f"{text}\n")
        if driver:
            module = self.root / "bus/pci/drivers" / driver
            module.mkdir(parents=True, exist_ok=True)
            (device / "driver").symlink_to(module)
        listed = self.root / "bus/pci/devices"
        listed.mkdir(parents=True, exist_ok=True)
        (listed / address).symlink_to(device)
        if driver:
            drm = self.root / f"class/drm/card{self._cards}"
            drm.mkdir(parents=True)
            (drm / "device").symlink_to(device)
            # Its outputs are in the same folder, and are no GPUs.
            output = self.root / f"class/drm/card{self._cards}-HDMI-A-1"
            output.mkdir()
            (output / "device").symlink_to(drm)
            self._cards += 1
        return device

    def amd(self, total: int, used: int, **more: str) -> Path:
        memory = {"mem_info_vram_total": str(total), "mem_info_vram_used": str(used)}
        return self.gpu(AMD, driver="amdgpu", files=memory | more)


def metrics(revision: int) -> bytes:
    """Return the beginning of gpu_metrics: its size, and what kind of GPU it is of."""
    return struct.pack("<HBB", 120, revision, 3) + bytes(116)
