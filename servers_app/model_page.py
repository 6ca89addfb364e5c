"""What servers add to the page of a model: what it takes, whether that fits, and its use."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.conf import settings as django_settings

from models_app.charts import Chart, Series
from models_app.models import DiscoveredModel, ModelKind
from models_app.rows import CTX_SIZE, estimate_row, file_bytes
from profiles_app.models import Profile, ProfileMember
from profiles_app.resolution import memory_mib, settings_of
from profiles_app.services import active_profile
from servers_app.admission import Evict, Fits, Gpu, Machine, Need, Running, Wait, decide
from servers_app.figures import milliseconds
from servers_app.memory import MIB, machine, running_on
from servers_app.models import MemoryMeasurement, Node, Server
from servers_app.planning import node_of
from servers_app.usage import Sums, days_of_model

FIRST_CONTEXT: Final = 2048  # tokens; each row has twice those of the row before
MAX_ROWS: Final = 12
CACHES: Final = ("f16", "q8_0")
MAX_MEASURED: Final = 6


class Verdict(NamedTuple):
    word: str
    colour: str  # of a badge


class MemoryCell(NamedTuple):
    total_mib: str
    cache_mib: str
    verdict: Verdict | None  # None: nobody knows what the node has


class MemoryRow(NamedTuple):
    context: str
    is_trained: bool  # the most that the model was made for
    cells: list[MemoryCell]  # one for each of CACHES


@dataclass(frozen=True, slots=True)
class MemoryTable:
    caches: Sequence[str]
    rows: list[MemoryRow]
    weights_mib: str
    knows_cache: bool  # whether the header says how large the cache is
    room: str  # what the node has, in words
    configured: str  # what the active profile asks for, in words
    measured: list[MemoryMeasurement]


class Room(NamedTuple):
    """What one more server would find on a node."""

    machine: Machine
    running: Sequence[Running]
    budget_mib: int | None
    eviction: str

    def verdict(self, name: str, total_mib: int) -> Verdict:
        free_vram = sum(gpu.free_mib for gpu in self.machine.gpus)
        vram = min(total_mib, free_vram)  # as `n_gpu_layers: auto` has it
        need = Need(name, ram_mib=total_mib - vram, vram_mib=vram)
        decision = decide(
            need,
            self.machine,
            self.running,
            budget_mib=self.budget_mib,
            eviction=self.eviction,
        )
        match decision:
            case Fits():
                return Verdict("fits now", "ready")
            case Evict() | Wait():
                return Verdict("fits, others give way", "starting")
        if total_mib <= self.most_mib():
            return Verdict("needs others stopped", "starting")
        return Verdict("too large", "failed")

    def most_mib(self) -> int:
        have = self.machine.total_mib - self.machine.reserve_mib
        have += sum(gpu.total_mib for gpu in self.machine.gpus)
        return have if self.budget_mib is None else min(have, self.budget_mib)

    def words(self, node: str) -> str:
        free = self.machine.available_mib
        words = f"{node} has {self.machine.total_mib:,} MiB, {free:,} of it available"
        if gpus := self.machine.gpus:
            vram, free = sum(g.total_mib for g in gpus), sum(g.free_mib for g in gpus)
            words += f", and {vram:,} MiB on GPUs, {free:,} free"
        words += f"; {self.machine.reserve_mib:,} MiB are kept for the system"
        if self.budget_mib is not None:
            words += f", and the active profile's budget is {self.budget_mib:,} MiB"
        return f"{words}."


def memory_table(model: DiscoveredModel) -> MemoryTable:
    """Return what a model takes by the length of its context, as estimated, and if it fits."""
    profile, node = active_profile(), node_of(model)
    room = _room(model, node, profile)
    projector = file_bytes(model.projector_path) if model.kind == ModelKind.VISION else 0
    return MemoryTable(
        caches=CACHES,
        rows=[
            MemoryRow(
                f"{context:,}",
                context == model.context_length,
                [_cell(model, context, cache, projector, room) for cache in CACHES],
            )
            for context in contexts(model.context_length)
        ],
        weights_mib=f"{-(-(model.size_bytes + projector) // MIB):,}",
        knows_cache=bool(model.metadata.get("block_count")),
        room=room.words(node) if room else f"What node {node} has is not known: it is away.",
        configured=_configured(model, profile),
        measured=list(MemoryMeasurement.objects.filter(model=model)[:MAX_MEASURED]),
    )


def contexts(trained: int | None) -> list[int]:
    """Return the lengths that a table has, up to what a model was made for.

    >>> contexts(6000)
    [2048, 4096, 6000]
    """
    most = trained or CTX_SIZE
    doubled = [FIRST_CONTEXT * 2**power for power in range(MAX_ROWS - 1)]
    return [*(context for context in doubled if context < most), most]


def _cell(
    model: DiscoveredModel, context: int, cache: str, projector: int, room: Room | None
) -> MemoryCell:
    estimate = estimate_row(
        model,
        ctx_size=context,
        projector_bytes=projector,
        cache_type_k=cache,
        cache_type_v=cache,
    )
    total = -(-estimate.total_bytes // MIB)
    verdict = room.verdict(model.display_name, total) if room else None
    return MemoryCell(f"{total:,}", f"{-(-estimate.kv_cache_bytes // MIB):,}", verdict)


def _room(model: DiscoveredModel, node: str, profile: Profile | None) -> Room | None:
    """Return what there is on the model's node without its own servers; None if unknown."""
    own = set(Server.objects.filter(model=model).values_list("pk", flat=True))
    return room_on(node, profile, without=own)


def room_on(
    node: str, profile: Profile | None, *, without: Collection[int] = ()
) -> Room | None:
    """Return what one more server would find on a node; None if its worker is away.

    Args:
        without: keys of servers that are not counted.
    """
    budget = profile.memory_budget_mib if profile else None
    eviction = profile.eviction if profile else ""
    if node == django_settings.MAGI_NODE:
        others = [server for server in running_on(node) if server.server_id not in without]
        return Room(machine(), others, budget, eviction)
    row = Node.objects.filter(name=node).first()
    if row is None or not row.hardware.get("total_bytes"):
        return None
    return Room(_machine(row.hardware), (), budget, eviction)


def _machine(hardware: Mapping[str, Any]) -> Machine:
    """Return what a node has, as its worker said last."""
    gpus = hardware.get("gpus", [])
    return Machine(
        total_mib=hardware["total_bytes"] // MIB,
        available_mib=hardware.get("available_bytes", 0) // MIB,
        reserve_mib=django_settings.MAGI_MEMORY_RESERVE_MIB,
        gpus=tuple(
            Gpu(gpu["total_bytes"] // MIB, gpu["free_bytes"] // MIB)
            for gpu in gpus
            if not gpu.get("shares_memory")
        ),
    )


def _configured(model: DiscoveredModel, profile: Profile | None) -> str:
    """Return what its run settings come to, as a sentence."""
    settings = settings_of(model, profile)
    context = settings["ctx_size"].value or model.context_length or CTX_SIZE
    of = f"With the settings of profile {profile}" if profile else "With the base settings"
    return f"{of} it takes about {memory_mib(model, settings):,} MiB, for {context:,} tokens."


class Membership(NamedTuple):
    """A profile that enables a model."""

    member: ProfileMember
    profile: Profile


def memberships(model: DiscoveredModel) -> list[Membership]:
    members = ProfileMember.objects.filter(model_id=model.model_id).select_related("profile")
    ordered = members.order_by("-profile__is_active", "profile__slug")
    return [Membership(member, member.profile) for member in ordered]


@dataclass(frozen=True, slots=True)
class ModelUsage:
    requests: Chart
    tokens: Chart
    figures: list[tuple[str, str]]
    is_empty: bool


def usage(model: DiscoveredModel) -> ModelUsage:
    """Return how a model was used of late; the figures are those of the page on usage."""
    by_day = days_of_model(model.model_id)
    labels = [f"{stretch.start:%d %b}" for stretch, _ in by_day]
    days = [sums for _, sums in by_day]
    total = sum(days, Sums())
    lately = f"in {len(days)} days"
    return ModelUsage(
        Chart(
            "Requests",
            labels,
            [
                Series("Answered", [day.requests - day.failures for day in days]),
                Series("Failed", [day.failures for day in days]),
            ],
            kind="bars",
            summary=f"{total.requests:,} {lately}",
        ),
        Chart(
            "Tokens",
            labels,
            [
                Series("Prompt", [day.prompt_tokens for day in days]),
                Series("Completion", [day.completion_tokens for day in days]),
            ],
            kind="bars",
            summary=f"{total.prompt_tokens + total.completion_tokens:,} {lately}",
        ),
        list(_figures(total)),
        is_empty=not total.requests,
    )


def _figures(total: Sums) -> Iterator[tuple[str, str]]:
    """Yield the means of what was measured as it answered."""
    if total.mean_first_byte_ms is not None:
        yield "First byte, mean", milliseconds(total.mean_first_byte_ms)
    if total.mean_total_ms is not None:
        yield "Whole answer, mean", milliseconds(total.mean_total_ms)
    if total.tokens_per_s:
        yield "Tokens per second", f"{total.tokens_per_s:,.1f}"
