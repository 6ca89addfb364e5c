"""What a node's hardware comes to, in cards and rows: for the admin and for the terminal."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from profiles_app.engines import EMBEDDED
from servers_app.hardware import Disk, Gpu, Hardware
from servers_app.models import EngineBuild, Node
from servers_app.server_page import Card, Fact, moment

GIB: Final = 2**30
GB: Final = 10**9  # of bandwidths and disks, as they are sold
KINDS: Final = {
    "nvme": "NVMe",
    "ssd": "SSD",
    "hdd": "hard disk",
    "network": "network",
    "memory": "in memory",
}


class GpuRow(NamedTuple):
    name: str
    vendor: str
    driver: str
    memory: str


class DiskRow(NamedTuple):
    path: str
    kind: str
    space: str
    holds: tuple[str, ...]


class EngineRow(NamedTuple):
    """A device of an engine, as that lists it itself; the first one names the engine."""

    engine: str
    device: str
    description: str
    memory: str


@dataclass(frozen=True, slots=True)
class NodePage:
    """What the page of a node shows; `is_known` is false of one that has said nothing yet."""

    is_known: bool
    cards: list[Card]
    gpus: list[GpuRow] = field(default_factory=list)
    disks: list[DiskRow] = field(default_factory=list)
    engines: list[EngineRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def page_of(node: Node, *, with_paths: bool) -> NodePage:
    """Return what is known of a node, as its worker said last.

    Args:
        with_paths: where things lie on its disks, too.
    """
    worker = Card("Worker", [fact for fact in _worker(node) if fact.value])
    hardware = Hardware.from_json(node.hardware)
    if hardware is None:
        return NodePage(is_known=False, cards=[worker])
    builds = EngineBuild.objects.filter(node=node.name)
    return NodePage(
        is_known=True,
        cards=[*cards_of(hardware), worker],
        gpus=gpu_rows(hardware.gpus),
        disks=disk_rows(hardware.disks, with_paths=with_paths),
        engines=engine_rows(builds, with_paths=with_paths),
        notes=[*hardware.notes, *(hardware.disk_notes if with_paths else ())],
    )


def cards_of(hardware: Hardware) -> list[Card]:
    """Return the cards of the processor and the memory; what is not known is left out."""
    cards = [
        Card("Processor", _processor(hardware)),
        Card("Memory", _memory(hardware)),
    ]
    return [Card(card.title, [fact for fact in card.facts if fact.value]) for card in cards]


def gpu_rows(gpus: Iterable[Gpu]) -> list[GpuRow]:
    return [GpuRow(gpu.name, gpu.vendor, gpu.driver, gpu_memory(gpu)) for gpu in gpus]


def gpu_memory(gpu: Gpu) -> str:
    own = f"{gpu.free_bytes / GIB:.1f} of {gpu.total_bytes / GIB:.1f} GiB free"
    if gpu.shares_memory:
        return f"the machine's; {own} of its own" if gpu.total_bytes else "the machine's"
    return own if gpu.total_bytes else "not told"


def disk_rows(disks: Iterable[Disk], *, with_paths: bool) -> list[DiskRow]:
    """Return a row for each disk; without paths they are counted."""
    return [
        DiskRow(
            path=disk.path if with_paths else f"Disk {number}",
            kind=" ".join(filter(None, (KINDS.get(disk.kind, disk.kind), disk.filesystem))),
            space=f"{disk.free_bytes / GB:,.1f} of {disk.total_bytes / GB:,.1f} GB free",
            holds=_holds(disk) if with_paths else (),
        )
        for number, disk in enumerate(disks, start=1)
    ]


def engine_rows(builds: Iterable[EngineBuild], *, with_paths: bool) -> list[EngineRow]:
    """Return what each engine of a node said to `--list-devices`."""
    rows: list[EngineRow] = []
    for build in builds:
        name = _engine(build, with_paths=with_paths)
        if build.problem:
            why = build.problem if with_paths else "it cannot be used"
            rows.append(EngineRow(name, "-", why, ""))
            continue
        devices = [
            EngineRow(
                "",
                str(device.get("name", "?")),
                str(device.get("description", "")),
                f"{device.get('free_mib') or 0:,} of {device.get('total_mib') or 0:,} MiB free",
            )
            for device in build.devices
        ] or [EngineRow("", "-", "the processor alone", "")]
        rows += [devices[0]._replace(engine=name), *devices[1:]]
    return rows


def bandwidth_text(hardware: Hardware) -> str:
    """Return how fast its memory is read; that it was not measured, if it was not."""
    bandwidth = hardware.memory_bandwidth_bytes_per_s
    if bandwidth is None:
        return "not measured"
    error = (hardware.memory_bandwidth_error_bytes_per_s or 0) / GB
    return f"{bandwidth / GB:.1f} GB/s ± {error:.1f}"


def _worker(node: Node) -> list[Fact]:
    read_at = node.hardware.get("read_at")
    return [
        Fact("Last seen", moment(node.heartbeat_at)),
        Fact("Running since", moment(node.started_at)),
        Fact("Hardware read", moment(datetime.fromtimestamp(read_at, UTC)) if read_at else ""),
        Fact("PID", str(node.worker_pid or "")),
        Fact("Address", node.address),
        Fact("Boot", node.boot_id),
    ]


def _processor(hardware: Hardware) -> list[Fact]:
    fast, limit = hardware.performance_cores, hardware.cpu_limit
    return [
        Fact("Name", hardware.cpu),
        Fact("Cores", f"{hardware.physical_cores}, {hardware.logical_cores} threads"),
        Fact("Fast cores", "" if fast is None else str(fast)),
        Fact("MAGI may use", "" if limit is None else f"{limit:g} of them, by a limit"),
        Fact("NUMA nodes", str(hardware.numa_nodes) if hardware.numa_nodes > 1 else ""),
        Fact("For llama.cpp", " ".join(hardware.cpu_flags)),
    ]


def _memory(hardware: Hardware) -> list[Fact]:
    used, swap = hardware.swap_used_bytes / GIB, hardware.swap_total_bytes / GIB
    free, total = hardware.available_bytes / GIB, hardware.total_bytes / GIB
    at = hardware.memory_bandwidth_at
    return [
        Fact("Free", f"{free:.1f} of {total:.1f} GiB"),
        Fact("Swap used", f"{used:.1f} of {swap:.1f} GiB" if swap else "there is none"),
        Fact("Bandwidth", bandwidth_text(hardware)),
        Fact("Measured", "" if at is None else moment(datetime.fromtimestamp(at, UTC))),
        Fact("How", hardware.memory_bandwidth_how),
    ]


def _holds(disk: Disk) -> tuple[str, ...]:
    return (
        *(f"models: {folder}" for folder in disk.scan_roots),
        *(f"downloads: {folder}" for folder in disk.downloads),
    )


def _engine(build: EngineBuild, *, with_paths: bool) -> str:
    if build.path == EMBEDDED:
        return "The embedded engine"
    return build.path if with_paths else f"llama-server {build.build or ''}".rstrip()
