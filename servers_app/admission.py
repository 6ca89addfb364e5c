"""Whether a model may be launched beside the servers that run: by memory, and by figures.

All amounts are MiB. Nothing is measured here, and nothing is done.

Mapped weights are page cache, which the system calls available, although a server whose
weights are pushed out reads them from the disk for every token. So what is available is
not what is free for a launch. Instead: what other programs use is all that is not available,
less what our servers have allocated; what ours need is what was counted for each, or what it
is seen to take where that is more; and both, the reserve and the new one must be within the
total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final, NamedTuple, TypeAlias

IDLE_LONGEST: Final = "idle-longest"  # the one rule that evicts
MIN_RESIDENCY_S: Final = 10.0  # two models wanted at once would evict each other for ever
MAX_NAMES: Final = 4  # in a sentence


@dataclass(frozen=True, slots=True)
class Gpu:
    total_mib: int
    free_mib: int


@dataclass(frozen=True, slots=True)
class Machine:
    total_mib: int
    available_mib: int
    reserve_mib: int = 0
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A server of ours that has memory, or was promised some.

    Counted is what it was admitted with; resident, anonymous and VRAM what it has now.
    """

    server_id: int
    name: str
    counted_mib: int = 0
    counted_vram_mib: int = 0
    resident_mib: int = 0
    anonymous_mib: int = 0
    vram_mib: int = 0
    is_busy: bool = False
    is_stopping: bool = False
    idle_seconds: float = 0.0
    ready_seconds: float | None = None  # None: it is still starting
    may_be_evicted: bool = True

    @property
    def needs_ram_mib(self) -> int:
        return max(self.counted_mib, self.resident_mib)

    @property
    def needs_vram_mib(self) -> int:
        return max(self.counted_vram_mib, self.vram_mib)

    @property
    def needs_total_mib(self) -> int:
        return self.needs_ram_mib + self.needs_vram_mib

    @property
    def is_starting(self) -> bool:
        return self.ready_seconds is None and not self.is_stopping

    @property
    def is_evictable_now(self) -> bool:
        return (
            self.may_be_evicted
            and not self.is_busy
            and not self.is_stopping
            and self.ready_seconds is not None
            and self.ready_seconds >= MIN_RESIDENCY_S
        )


@dataclass(frozen=True, slots=True)
class Need:
    name: str
    ram_mib: int
    vram_mib: int = 0

    @property
    def total_mib(self) -> int:
        return self.ram_mib + self.vram_mib


@dataclass(frozen=True, slots=True)
class Fits:
    pass


@dataclass(frozen=True, slots=True)
class Evict:
    """It fits when these servers have been stopped."""

    server_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """It will fit by itself, or by an eviction that may not be made just now."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    sentence: str


Decision: TypeAlias = Fits | Evict | Wait | Refused


def decide(
    need: Need,
    machine: Machine,
    running: Sequence[Running],
    *,
    budget_mib: int | None = None,
    eviction: str = "never",
) -> Decision:
    """Return whether `need` fits, and what to do if it does not.

    Evicted are the fewest servers that will do, and of those the ones idle longest; no
    busy one, none that is starting, none that became ready a moment ago.

    Args:
        budget_mib: for all servers together, VRAM included, by estimate; None for none.
        eviction: IDLE_LONGEST evicts, anything else does not.
    """
    ledger = _Ledger(need, machine, running, budget_mib)
    missing = ledger.missing()
    leaving = [server for server in running if server.is_stopping]
    candidates = [
        server for server in running if server.may_be_evicted and not server.is_stopping
    ]
    if _is_enough([], missing):
        return Fits()
    if _is_enough(leaving, missing):
        return Wait(f"{need.name} waits for the memory of {_named(leaving)} to come back.")
    if eviction != IDLE_LONGEST or not _is_enough([*leaving, *candidates], missing):
        return Refused(ledger.refusal())
    evictable = sorted(
        (server for server in candidates if server.is_evictable_now),
        key=lambda server: (-server.idle_seconds, server.server_id),
    )
    still_missing = missing.less(*map(_gives_back, leaving))
    for count in range(1, len(evictable) + 1):
        if (chosen := _pick(evictable, count, still_missing)) is not None:
            return Evict(tuple(server.server_id for server in chosen))
    held = [server for server in candidates if not server.is_evictable_now]
    return Wait(
        f"{need.name} waits for memory: {_named(held)} would have to give way, but cannot now. "
        "None does while it answers a request, is starting, or has only just started."
    )


class _Amounts(NamedTuple):
    """MiB of each thing that there may be too little of."""

    ram: int
    vram: int
    budget: int

    def less(self, *others: "_Amounts") -> "_Amounts":
        return _Amounts(
            *(have - sum(given) for have, *given in zip(self, *others, strict=True))
        )


@dataclass(frozen=True, slots=True)
class _Ledger:
    need: Need
    machine: Machine
    running: Sequence[Running]
    budget_mib: int | None

    def missing(self) -> _Amounts:
        """Return what is too little, each; at most 0 where there is enough."""
        ram = self.need.ram_mib - self._free_ram_mib()
        vram = self.need.vram_mib - self._free_vram_mib() + self._promised_vram_mib()
        budget = 0
        if self.budget_mib is not None:
            budget = self.need.total_mib + _total_of(self.running) - self.budget_mib
        return _Amounts(ram, vram if self.need.vram_mib else 0, budget)

    def refusal(self) -> str:
        """Return a sentence with all figures for each thing that is too little."""
        sentences = (self._too_little_ram, self._too_little_vram, self._over_budget)
        return " ".join(
            sentence()
            for sentence, missing in zip(sentences, self.missing(), strict=True)
            if missing > 0
        )

    def _free_ram_mib(self) -> int:
        taken = self.machine.reserve_mib + self._others_mib() + _ram_of(self.running)
        return self.machine.total_mib - taken

    def _others_mib(self) -> int:
        """Return what programs that are not ours use, and the system."""
        allocated = sum(server.anonymous_mib for server in self.running)
        return max(0, self.machine.total_mib - self.machine.available_mib - allocated)

    def _free_vram_mib(self) -> int:
        return sum(gpu.free_mib for gpu in self.machine.gpus)

    def _promised_vram_mib(self) -> int:
        """Return what servers that are starting will still take."""
        return sum(
            server.needs_vram_mib - server.vram_mib
            for server in self.running
            if server.is_starting
        )

    def _too_little_ram(self) -> str:
        need, machine, ours = self.need, self.machine, self.running
        taken = f", {_ram_of(ours):,} for {_counted(ours)}" if ours else ""
        return (
            f"{need.name} needs about {need.ram_mib:,} MiB; free are "
            f"{max(0, self._free_ram_mib()):,} of {machine.total_mib:,} MiB: "
            f"{machine.reserve_mib:,} reserved{taken}, {self._others_mib():,} used by other "
            f"programs. {self._stop_or_lower()} ctx_size, or lower MAGI_MEMORY_RESERVE_MIB."
        )

    def _too_little_vram(self) -> str:
        total = sum(gpu.total_mib for gpu in self.machine.gpus)
        promised = self._promised_vram_mib()
        starting = f", less {promised:,} for servers that are starting" if promised else ""
        return (
            f"{self.need.name} needs about {self.need.vram_mib:,} MiB of GPU memory; free are "
            f"{self._free_vram_mib():,} of {total:,} MiB{starting}. "
            f"{self._stop_or_lower()} ctx_size or n_gpu_layers."
        )

    def _over_budget(self) -> str:
        ours = self.running
        taken = f", of which {_total_of(ours):,} are for {_counted(ours)}" if ours else ""
        return (
            f"{self.need.name} needs about {self.need.total_mib:,} MiB; the budget of the "
            f"profile is {self.budget_mib:,} MiB{taken}. "
            f"{self._stop_or_lower()} ctx_size, or raise memory.budget_mib."
        )

    def _stop_or_lower(self) -> str:
        return "Stop a server, lower" if self.running else "Lower"


def _gives_back(server: Running) -> _Amounts:
    """Return what there is more of when `server` has been stopped."""
    vram = server.needs_vram_mib
    if not server.is_starting and server.vram_mib:
        vram = server.vram_mib  # not known in a container, where NVML has other pids
    return _Amounts(server.needs_ram_mib, vram, server.needs_total_mib)


def _is_enough(stopped: Sequence[Running], missing: _Amounts) -> bool:
    return max(missing.less(*map(_gives_back, stopped))) <= 0


def _pick(
    servers: Sequence[Running], count: int, missing: _Amounts
) -> tuple[Running, ...] | None:
    """Return `count` of `servers` that are enough, the first ones if they are."""
    if count == 0:
        return () if max(missing) <= 0 else None
    for index, server in enumerate(servers):
        back = [_gives_back(other) for other in servers[index:]]
        # Not even the largest, of each memory by itself: this keeps the search short.
        most = _Amounts(*(sum(nlargest(count, each)) for each in zip(*back, strict=True)))
        if max(missing.less(most)) > 0:
            return None
        rest = _pick(servers[index + 1 :], count - 1, missing.less(_gives_back(server)))
        if rest is not None:
            return (server, *rest)
    return None


def _ram_of(servers: Sequence[Running]) -> int:
    return sum(server.needs_ram_mib for server in servers)


def _total_of(servers: Sequence[Running]) -> int:
    return sum(server.needs_total_mib for server in servers)


def _counted(servers: Sequence[Running]) -> str:
    plural = "" if len(servers) == 1 else "s"
    return f"{len(servers)} server{plural} ({_named(servers)})"


def _named(servers: Sequence[Running]) -> str:
    names = [server.name for server in servers[:MAX_NAMES]]
    if more := len(servers) - len(names):
        names.append(f"{more} more")
    return ", ".join(names)
