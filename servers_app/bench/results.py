"""What was measured, to be read: the newest of each model, and its figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from servers_app.bench.spread import Spread, is_noise, spread
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import BenchmarkNotFoundError

__all__ = ["Figure", "Spread", "figures_of", "get_benchmark", "history", "is_noise", "spread"]

# What a figure was measured by, as `measured` has it.
DEPTH: Final = "depth"  # one client, a prompt of `context` tokens
TOGETHER: Final = "clients"  # `clients` at once
LOAD: Final = "load"
FIRST_ANSWER: Final = "first answer"  # after a load: nothing is warm
MEMORY: Final = "memory"  # the most that was seen, MiB
MACHINE: Final = "machine"  # how busy it was before

MORE_IS_BETTER: Final = {
    "prompt_tokens_per_s": True,
    "generation_tokens_per_s": True,
    "total_tokens_per_s": True,
    "first_token_ms": False,  # nosec B105
    "latency_ms": False,
    "cold_s": False,
    "warm_s": False,
}
HISTORY: Final = 50
SAMPLES: Final = ("figures", "outcome", "settings")  # columns that may be long


@dataclass(frozen=True, slots=True)
class Figure:
    """The samples of one thing that was measured, under what conditions."""

    measured: str
    name: str
    context: int
    clients: int
    samples: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return (self.measured, self.name, self.context, self.clients)

    @property
    def spread(self) -> Spread:
        return spread(self.samples)


def latest_by_model(node: str = "") -> dict[str, Benchmark]:
    """Return the newest finished benchmark of each model, without its samples, by its id.

    Args:
        node: only those that were measured there.
    """
    newest = Window(
        RowNumber(),
        partition_by=[F("model_id")],
        order_by=[F("asked_at").desc(), F("pk").desc()],
    )
    rows = Benchmark.objects.filter(kind=BenchmarkKind.MEASURE, state=BenchmarkState.FINISHED)
    if node:
        rows = rows.filter(node=node)
    found = rows.annotate(place=newest).filter(place=1).defer(*SAMPLES)
    return {row.model_id: row for row in found}


def history(model_id: str, node: str = "") -> list[Benchmark]:
    """Return the last benchmarks of a model that finished, the oldest first, as above."""
    rows = Benchmark.objects.filter(
        model_id=model_id, kind=BenchmarkKind.MEASURE, state=BenchmarkState.FINISHED
    )
    if node:
        rows = rows.filter(node=node)
    return list(rows.defer(*SAMPLES)[:HISTORY])[::-1]


def get_benchmark(number: int) -> Benchmark:
    """Return the benchmark of that number.

    Raises:
        BenchmarkNotFoundError: there is none.
    """
    found = Benchmark.objects.filter(pk=number).first() if number < 2**63 else None
    if found is None:
        msg = f"Benchmark not found: {number}. `manage.py bench --list` shows them."
        raise BenchmarkNotFoundError(msg)
    return found


def figures_of(benchmark: Benchmark) -> Iterator[Figure]:
    """Yield every figure of a benchmark that has samples."""
    entries: list[Mapping[str, Any]] = benchmark.figures
    for entry in entries:
        for name in MORE_IS_BETTER:
            if samples := entry.get("values", {}).get(name):
                yield Figure(
                    entry["measured"],
                    name,
                    entry.get("context", 0),
                    entry.get("clients", 1),
                    tuple(samples),
                )
