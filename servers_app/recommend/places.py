"""What models would find on a node: its hardware, its engine, and the room there is."""

from dataclasses import dataclass, replace
from typing import Final

from django.conf import settings as django_settings

from servers_app.admission import Fits, Gpu, Machine, Need, Running, decide
from servers_app.engine.binary import find_engine
from servers_app.engine.builds import capabilities
from servers_app.engine.capabilities import Capabilities, Device, Version
from servers_app.errors import EngineError, NoHardwareError
from servers_app.hardware import Hardware, own_memory, read_hardware
from servers_app.memory import MIB, running_on
from servers_app.models import EngineBuild, Node
from servers_app.recommend.fitting import GPU_RESERVE_MIB, Needed, Room

MAX_NAME_CHARS: Final = 100  # of a node, in a message


@dataclass(frozen=True, slots=True)
class Place:
    """A node, or a machine that somebody describes.

    Attributes:
        known: what its llama-server can do; None where nobody here can ask it.
        reserve_mib: of its memory, what is kept for the system.
        running: our servers that have memory there; they would be stopped for others.
        is_described: nothing was measured on it. `node` is then the one that has the models.
    """

    node: str
    hardware: Hardware
    known: Capabilities | None
    reserve_mib: int
    running: tuple[Running, ...] = ()
    is_described: bool = False

    @property
    def build(self) -> str:
        return self.known.version.text if self.known else ""

    @property
    def ours_bytes(self) -> int:
        """What our servers have of the memory that is not available."""
        return sum(server.anonymous_mib for server in self.running) * MIB

    @property
    def ours_vram_bytes(self) -> int:
        """What our servers have of the GPUs."""
        return sum(server.vram_mib for server in self.running) * MIB

    @property
    def for_models(self) -> Hardware:
        """Its hardware, without GPUs if its llama-server lists no device."""
        if self.known is None or not self.known.devices:
            return replace(self.hardware, gpus=())
        return self.hardware

    @property
    def room(self) -> Room:
        """What there is for models once our own servers have stopped."""
        hardware = self.hardware
        free = min(hardware.total_bytes, hardware.available_bytes + self.ours_bytes)
        given_back = self.ours_vram_bytes // MIB
        gpus = []
        for gpu in self._gpus():
            more = min(given_back, gpu.total_mib - gpu.free_mib)
            given_back -= more
            gpus.append(max(0, gpu.free_mib + more - GPU_RESERVE_MIB))
        return Room(max(0, free // MIB - self.reserve_mib), tuple(gpus))

    def fits_now(self, name: str, needed: Needed) -> bool:
        """Return whether it would be admitted beside what runs there now."""
        machine = Machine(
            total_mib=self.hardware.total_bytes // MIB,
            available_mib=self.hardware.available_bytes // MIB,
            reserve_mib=self.reserve_mib,
            gpus=tuple(self._gpus()),
        )
        need = Need(name, ram_mib=needed.ram_mib, vram_mib=needed.vram_mib)
        return isinstance(decide(need, machine, self.running), Fits)

    def words(self) -> str:
        """Return what there is for models, as a sentence."""
        room = self.room
        name = "The machine described" if self.is_described else self.node
        stopped = ", with the servers that run there stopped" if self.running else ""
        gpus = ""
        if room.gpus_mib:
            gpus = f", and {room.vram_mib:,} MiB on {_counted(len(room.gpus_mib))}"
        words = (
            f"{name} has {room.ram_mib:,} of {self.hardware.total_bytes // MIB:,} MiB for "
            f"models{gpus}{stopped}; {self.reserve_mib:,} MiB are kept for the system."
        )
        unused = [gpu.name for gpu in own_memory(self.hardware.gpus)]
        if unused and not room.gpus_mib:
            words += (
                f" {', '.join(unused)}: left out, for its llama-server lists no such device."
            )
        return words

    def _gpus(self) -> list[Gpu]:
        """Return the GPUs with memory of their own, if the engine can use one."""
        return [
            Gpu(gpu.total_bytes // MIB, gpu.free_bytes // MIB)
            for gpu in own_memory(self.for_models.gpus)
        ]


def place_of(node: str = "") -> Place:
    """Return what is known of a node; without a name, of this machine as it is now.

    Raises:
        NoHardwareError: no node is called so, or it has not said yet what it has.
    """
    here: str = django_settings.MAGI_NODE
    node = node or here
    reserve: int = django_settings.MAGI_MEMORY_RESERVE_MIB
    row = Node.objects.filter(name=node).first() if "\0" not in node else None
    told = Hardware.from_json(row.hardware) if row else None
    if node == here:
        hardware = read_hardware()
        if told is not None:
            bandwidth = told.memory_bandwidth_bytes_per_s
            hardware = replace(hardware, memory_bandwidth_bytes_per_s=bandwidth)
        return Place(node, hardware, _known_here(), reserve, tuple(running_on(node)))
    if row is None:
        names = ", ".join(
            [here, *Node.objects.exclude(name=here).values_list("name", flat=True)]
        )
        msg = f"There is no node '{node[:MAX_NAME_CHARS]}'. Available: {names}."
        raise NoHardwareError(msg)
    if told is None:
        msg = f"Node {node} has not said yet what it has. Start its worker: `manage.py run`."
        raise NoHardwareError(msg)
    reserve = row.facts.get("memory_reserve_mib", reserve)
    return Place(node, told, _known_there(node), reserve)


def imagined_place(hardware: Hardware) -> Place:
    """Return a machine that somebody describes, with this machine's engine on it."""
    reserve: int = django_settings.MAGI_MEMORY_RESERVE_MIB
    node: str = django_settings.MAGI_NODE
    return Place(node, hardware, _known_here(), reserve, is_described=True)


def _known_here() -> Capabilities | None:
    try:
        return capabilities(find_engine())
    except EngineError:
        return None


def _known_there(node: str) -> Capabilities | None:
    """Return what the llama-server of another node can do: the one asked last."""
    row = EngineBuild.objects.filter(node=node, problem="").order_by("-asked_at").first()
    if row is None:
        return None
    return Capabilities(
        path=row.path,
        version=Version(row.version, row.build, row.commit),
        flags=row.flags,
        devices=[Device(**device) for device in row.devices],
    )


def _counted(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"
