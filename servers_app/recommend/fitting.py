"""How a model is best put into a machine's memory: its context, its KV cache, its layers.

Amounts are MiB, counted as admission.py counts them. Nothing is measured here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from models_app.memory import MemoryEstimate

MIB: Final = 2**20
FIRST_CONTEXT: Final = 4096  # tokens; each candidate has twice those of the one before
USEFUL_CONTEXT: Final = 8192  # tokens; for more, the KV cache is not made coarser
UNKNOWN_CONTEXT: Final = 32768  # tokens, where a file does not say what it was trained for
MAX_CONTEXT: Final = 10_000_000  # tokens: what ctx_size may be
CACHE_TYPES: Final = ("f16", "q8_0", "q4_0")  # the finest first
GPU_RESERVE_MIB: Final = 512  # of each GPU, for its driver's context and for its screen


class Trial(NamedTuple):
    """A context, in tokens, and the type of the KV cache that holds it."""

    ctx_size: int
    cache_type: str


class Needed(NamedTuple):
    ram_mib: int
    vram_mib: int


@dataclass(frozen=True, slots=True)
class Room:
    """What models may have: of the machine's memory, and of each GPU with its own."""

    ram_mib: int
    gpus_mib: tuple[int, ...] = ()

    @property
    def vram_mib(self) -> int:
        return sum(self.gpus_mib)

    @property
    def total_mib(self) -> int:
        return self.ram_mib + self.vram_mib

    def less(self, needed: Needed) -> "Room":
        """Return what is left; the GPUs give in their order."""
        left, missing = [], needed.vram_mib
        for gpu_mib in self.gpus_mib:
            given = min(gpu_mib, missing)
            left.append(gpu_mib - given)
            missing -= given
        return Room(self.ram_mib - needed.ram_mib, tuple(left))


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model fits: what it is given, and what it then takes."""

    ctx_size: int
    cache_type: str
    n_gpu_layers: int | str | None  # a number, or `all`; None where there is no GPU
    layers: int | None  # that it has, the output layer counted; None: nobody knows
    estimate: MemoryEstimate
    needed: Needed
    is_measured: bool = False  # `needed` was seen here, and is no estimate

    @property
    def total_mib(self) -> int:
        return sum(self.needed)


Estimate: TypeAlias = Callable[[Trial], MemoryEstimate]
Measured: TypeAlias = Callable[[Fit], Needed | None]


def nothing_measured(_fit: Fit) -> None:
    """Stand for what was seen where nothing was."""
    return


def contexts(trained: int | None, most: int = MAX_CONTEXT) -> list[int]:
    """Return the contexts worth trying, the longest first.

    >>> contexts(20_000)
    [20000, 16384, 8192, 4096]
    >>> contexts(131_072, most=16_384)
    [16384, 8192, 4096]
    """
    longest = min(trained or UNKNOWN_CONTEXT, most)
    shorter, context = [], FIRST_CONTEXT
    while context < longest:
        shorter.append(context)
        context *= 2
    return [longest, *reversed(shorter)]


def trials(
    candidates: Sequence[int], cache_types: Sequence[str], useful: int = USEFUL_CONTEXT
) -> Iterator[Trial]:
    """Yield what to try, the best first.

    A longer context is better than a shorter one, but the cache is made coarser only where
    not even `useful` tokens fit otherwise.

    Args:
        candidates: the longest first.
    """
    useful = min(useful, candidates[0])
    for cache_type in cache_types:
        yield from (Trial(each, cache_type) for each in candidates if each >= useful)
    for each in candidates:
        if each < useful:
            yield from (Trial(each, cache_type) for cache_type in cache_types)


def best_fit(
    attempts: Iterator[Trial],
    estimate: Estimate,
    *,
    block_count: int | None,
    room: Room,
    measured: Measured = nothing_measured,
) -> Fit | None:
    """Return the first of `attempts` that fits; None if none does."""
    for trial in attempts:
        fit = place(trial, estimate(trial), block_count=block_count, room=room)
        if (seen := measured(fit)) is not None:
            fit = replace(fit, needed=seen, is_measured=True)
        if is_within(fit.needed, room):
            return fit
    return None


def place(
    trial: Trial, estimate: MemoryEstimate, *, block_count: int | None, room: Room
) -> Fit:
    """Put as many layers on the GPUs as they hold; what is left goes into memory.

    A layer lies on one GPU. Each is counted with its share of all that the model takes, as
    the ledger has it (servers_app/memory.py). Of a model that does not tell its layers, all
    go to a GPU or none.
    """
    total = -(-estimate.total_bytes // MIB)
    layers = block_count + 1 if block_count else None
    parts = layers or 1
    each = max(1, -(-total // parts))
    held = min(parts, sum(gpu_mib // each for gpu_mib in room.gpus_mib))
    vram = round(total * held / parts)
    chosen: int | str | None = "all" if held == parts else held
    return Fit(
        ctx_size=trial.ctx_size,
        cache_type=trial.cache_type,
        n_gpu_layers=chosen if room.gpus_mib else None,
        layers=layers,
        estimate=estimate,
        needed=Needed(total - vram, vram),
    )


def is_within(needed: Needed, room: Room) -> bool:
    return needed.ram_mib <= room.ram_mib and needed.vram_mib <= room.vram_mib
