"""The memory of each node: what is counted for servers, against what they may have.

By what nodes have last said of themselves, a minute ago at most: nothing is measured here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from magi_site.dashboard.bars import Bar, bar
from profiles_app.models import Profile
from servers_app.models import RUNNING, Node, Server

MIB: Final = 2**20
SHOWN: Final = 8  # nodes


@dataclass(frozen=True, slots=True)
class MemoryLine:
    label: str
    text: str
    note: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class NodeMemory:
    name: str
    is_alive: bool
    read_at: datetime | None
    lines: list[MemoryLine]


def memory_of_nodes(servers: Iterable[Server], profile: Profile | None) -> list[NodeMemory]:
    """Return the memory of the first nodes, given all servers that run."""
    counted: Counter[str] = Counter()
    for server in servers:
        if server.state in RUNNING:
            counted[server.node] += server.memory_mib or 0
    budget = profile.memory_budget_mib if profile else None
    return [_memory(node, counted[node.name], budget) for node in Node.objects.all()[:SHOWN]]


def _memory(node: Node, counted: int, budget: int | None) -> NodeMemory:
    hardware: dict[str, Any] = node.hardware
    gpus: list[dict[str, Any]] = hardware.get("gpus", [])
    read_at = hardware.get("read_at")
    lines = [_servers(hardware, gpus, counted, budget)]
    if total := hardware.get("total_bytes"):
        used = total - hardware.get("available_bytes", total)
        lines.append(_line("Memory in use", used // MIB, total // MIB, "by all programs"))
    lines += [
        _line(
            f"VRAM {number}" if len(gpus) > 1 else "VRAM",
            gpu.get("used_bytes", 0) // MIB,
            gpu["total_bytes"] // MIB,
            gpu.get("name", ""),
        )
        for number, gpu in enumerate(gpus)
        if gpu.get("total_bytes")
    ]
    return NodeMemory(
        node.name,
        node.is_alive,
        datetime.fromtimestamp(read_at, UTC) if read_at else None,
        lines,
    )


def _servers(
    hardware: dict[str, Any], gpus: list[dict[str, Any]], counted: int, budget: int | None
) -> MemoryLine:
    """Return what is counted for servers, as an admission holds it against what there is."""
    label, reserve = "Counted for servers", settings.MAGI_MEMORY_RESERVE_MIB
    if budget is not None:
        return _line(label, counted, budget, "the profile's budget for a node")
    if not hardware.get("total_bytes"):
        return _line(label, counted, 0, "how much it has is not known yet")
    whole = sum(device.get("total_bytes", 0) for device in (hardware, *gpus)) // MIB
    return _line(
        label, counted, max(0, whole - reserve), f"all but {reserve:,} MiB that are reserved"
    )


def _line(label: str, taken: int, whole: int, note: str) -> MemoryLine:
    if not whole:
        return MemoryLine(label, f"{taken:,} MiB", note, None)
    text = f"{taken:,} of {whole:,} MiB"
    return MemoryLine(label, text, note, bar(f"{label}: {text}", [taken], whole))
