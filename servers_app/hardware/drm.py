"""GPUs of AMD and Intel, as Linux' drivers tell of them in sysfs.

https://docs.kernel.org/gpu/amdgpu/driver-misc.html (mem_info_vram_total, product_name)
https://docs.kernel.org/gpu/amdgpu/thermal.html (gpu_metrics)
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from servers_app.hardware import pci
from servers_app.hardware.values import Gpu

SYS = Path("/sys")

AMD: Final = "0x1002"
INTEL: Final = "0x8086"
NVIDIA: Final = "0x10de"
_VENDORS: Final = {AMD: "AMD", INTEL: "Intel", NVIDIA: "NVIDIA"}
_DRIVERS: Final = {AMD: "amdgpu", INTEL: "i915 or xe", NVIDIA: "NVIDIA's own"}
_DISPLAY: Final = "0x03"  # PCI's class of displays and 3D controllers
_ON_CHIP: Final = "0000:00:02.0"  # where every Intel processor has its GPU
_METRICS_OF_CHIPS: Final = (2, 3)  # revisions of gpu_metrics for GPUs on the processor's chip
_LEAST_BAR_BYTES: Final = 2**30  # a smaller one is a window, not all of the memory


class _Card(NamedTuple):
    card: str  # card0
    device: Path
    vendor: str
    driver: str

    @property
    def name(self) -> str:
        name = _text(self.device / "product_name")
        model = _text(self.device / "device")
        return name or pci.device_name(self.vendor, model) or f"GPU {model}"

    @property
    def driver_version(self) -> str:
        version = _text(self.device / "driver/module/version")
        return f"{self.driver} {version}".rstrip()


def read_drm(root: Path | None = None) -> tuple[Sequence[Gpu], Sequence[str]]:
    """Return AMD's and Intel's GPUs, and a sentence for each that cannot be read.

    NVIDIA's are here only where they can do nothing: with a driver that is not NVIDIA's.

    Args:
        root: where sysfs is; for tests.
    """
    root = root or SYS
    gpus: list[Gpu] = []
    notes: list[str] = []
    for card in _cards(root):
        if card.vendor == NVIDIA:
            if card.driver == "nouveau":
                notes.append(
                    f"{card.name} runs with the driver nouveau, which no engine can use. "
                    "Install NVIDIA's own."
                )
            continue
        try:
            gpu = _amd(card) if card.vendor == AMD else _intel(card)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            notes.append(
                f"{_VENDORS[card.vendor]} {card.name} ({card.card}) is left out: its driver "
                f"{card.driver or '(none)'} does not tell of its memory ({reason})."
            )
            continue
        gpus.append(gpu)
        if not gpu.total_bytes and not gpu.shares_memory:
            notes.append(
                f"How much memory {gpu.name} has, Linux does not say; an engine that can use "
                "it does."
            )
    return gpus, [*notes, *_without_driver(root)]


def has_vram(root: Path | None = None) -> bool:
    """Whether there is a GPU of AMD's or Intel's."""
    return any(card.vendor != NVIDIA for card in _cards(root or SYS))


def _cards(root: Path) -> Iterator[_Card]:
    for path in sorted((root / "class/drm").glob("card*")):
        device = path / "device"
        vendor = _text(device / "vendor")
        if vendor in _VENDORS:  # its outputs, card0-HDMI-A-1, have none
            yield _Card(path.name, device, vendor, _driver(device))


def _amd(card: _Card) -> Gpu:
    """Return one of AMD's.

    Raises:
        OSError, ValueError: its driver does not say what memory it has.
    """
    total = int((card.device / "mem_info_vram_total").read_text())
    used = min(total, int((card.device / "mem_info_vram_used").read_text()))
    return Gpu(
        card.name,
        total,
        total - used,
        used,
        "AMD",
        card.driver_version,
        shares_memory=_is_on_chip(card.device),
    )


def _intel(card: _Card) -> Gpu:
    """Return one of Intel's. What is free of its memory, Linux does not say: all, is told."""
    is_on_chip = card.device.resolve().name == _ON_CHIP
    total = 0 if is_on_chip else _largest_bar(card.device)
    return Gpu(
        card.name, total, total, 0, "Intel", card.driver_version, shares_memory=is_on_chip
    )


def _is_on_chip(device: Path) -> bool:
    """Whether an AMD GPU has its memory from the machine: its metrics say what it is."""
    with suppress(OSError), (device / "gpu_metrics").open("rb") as file:
        header = file.read(4)  # structure_size u16, format_revision u8, content_revision u8
        return len(header) == 4 and header[2] in _METRICS_OF_CHIPS
    return False


def _largest_bar(device: Path) -> int:
    """Return the bytes of a GPU's memory, where PCI shows all of it; 0 where it does not.

    Each line of `resource` is the first and the last address of a window, and its flags.
    """
    sizes = [0]
    for line in _text(device / "resource").splitlines():
        with suppress(ValueError):
            first, last, _ = (int(number, 16) for number in line.split())
            sizes.append(last - first + 1 if last else 0)
    return max(sizes) if max(sizes) >= _LEAST_BAR_BYTES else 0


def _without_driver(root: Path) -> Iterator[str]:
    """Yield a sentence for each GPU that no driver has taken."""
    for device in sorted((root / "bus/pci/devices").glob("*")):
        vendor = _text(device / "vendor")
        if (
            vendor in _VENDORS
            and _text(device / "class").startswith(_DISPLAY)
            and not _driver(device)
        ):
            name = pci.device_name(vendor, _text(device / "device")) or "GPU"
            yield (
                f"{_VENDORS[vendor]} {name} at {device.name} has no driver, so no engine can "
                f"use it. Install {_DRIVERS[vendor]}, and start the machine again."
            )


def _driver(device: Path) -> str:
    driver = device / "driver"
    with suppress(OSError, RuntimeError):  # not allowed to look; links in a circle
        return driver.resolve(strict=True).name
    return ""


def _text(path: Path) -> str:
    """Return what a file says; nothing where it is not there, or its driver fails."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
