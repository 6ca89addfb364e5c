"""Names of PCI devices, by the list that Linux distributions bring along."""

from functools import cache
from pathlib import Path

LISTS = (  # https://pci-ids.ucw.cz
    Path("/usr/share/hwdata/pci.ids"),
    Path("/usr/share/misc/pci.ids"),
    Path("/usr/share/pci.ids"),
)


@cache
def device_name(vendor: str, device: str) -> str:
    """Return what a device is sold as; empty for one that is in no list.

    Args:
        vendor, device: as sysfs has them: `0x1002`.
    """
    for path in LISTS:
        try:
            with path.open(errors="replace") as lines:
                is_vendors = False
                for line in lines:
                    if line.startswith(("#", "\t\t")):
                        continue
                    if not line.startswith("\t"):
                        is_vendors = line.startswith(vendor.removeprefix("0x") + " ")
                    elif is_vendors and line.startswith(f"\t{device.removeprefix('0x')} "):
                        return _sold_as(line.split(maxsplit=1)[1].strip())
        except OSError:
            continue
    return ""


def _sold_as(name: str) -> str:
    """Return `Radeon RX 7900 XTX` of `Navi 31 [Radeon RX 7900 XTX]`."""
    _, bracket, sold = name.partition("[")
    return sold.rstrip("]") if bracket else name
