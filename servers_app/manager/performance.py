"""How models perform: as their requests, their servers and their benchmarks have it.

A figure is measured once in 24 hours and kept; the history says how it was before.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import psutil
from django.db.models import Count, Max, Sum
from django.utils import timezone

from models_app.models import DiscoveredModel
from servers_app.bench.results import latest_by_model
from servers_app.benchmark_models import Benchmark
from servers_app.manager.suitability import suitabilities
from servers_app.manager_models import ModelPerformance
from servers_app.models import RUNNING, Server
from servers_app.process_load import MIB, Load, load_of
from servers_app.request_models import UsageMinute
from servers_app.usage import FIELDS, Sums

DAY: Final = timedelta(hours=24)  # that is measured over, and that a figure is kept for
HISTORY: Final = timedelta(days=365)
MAX_KEPT: Final = 400  # of one model: who asks for it anew all the time fills no disk
CHUNK: Final = 500
_BENCHMARKED: Final = (
    "prompt_tokens_per_s", "generation_tokens_per_s", "first_token_ms", "load_seconds",
    "peak_ram_mib", "peak_vram_mib",
)  # fmt: skip

ByModel = Mapping[int, ModelPerformance]  # by the model's row


def performance_of(models: Sequence[DiscoveredModel], *, refresh: bool = False) -> ByModel:
    """Return how models perform, measured anew where that is older than 24 hours.

    It costs as many queries for many models as for one.

    Args:
        refresh: measure all of them now.
    """
    known = {} if refresh else _kept_today(models)
    stale = [model for model in models if model.pk not in known]
    if not stale:
        return known
    measured = measure(stale)
    _keep(measured.values())
    return {**known, **measured}


def measure(models: Sequence[DiscoveredModel]) -> dict[int, ModelPerformance]:
    """Return how models have performed in the last 24 hours; nothing of it is kept."""
    ids = [model.model_id for model in models]
    sums, benchmarks, loads = _sums(ids), latest_by_model(), _loads(models)
    suits = _suitability(models)
    return {
        model.pk: _of(
            model,
            sums.get(model.model_id, Sums()),
            benchmarks.get(model.model_id),
            loads.get(model.pk),
            suits.get(model.model_id, {}),
        )
        for model in models
    }


def note_all(node: str) -> int:
    """Measure the models of `node` that nobody has measured for a day; say how many."""
    rows = DiscoveredModel.objects.select_related("root").defer("metadata", "warnings")
    models = list(rows.filter(root__node=node, is_missing=False))
    known = _kept_today(models)
    measured = measure([model for model in models if model.pk not in known])
    count = _keep(measured.values())
    ModelPerformance.objects.filter(at__lt=timezone.now() - HISTORY).delete()
    return count


def history_of(model: DiscoveredModel, limit: int) -> list[ModelPerformance]:
    """Return what was kept of a model, the newest first."""
    return list(ModelPerformance.objects.filter(model=model)[:limit])


def is_measured(row: ModelPerformance) -> bool:
    """Whether it says how the model performed, and not only what it takes: that is kept."""
    return bool(row.total_requests or row.benchmarks)


def _of(
    model: DiscoveredModel,
    sums: Sums,
    benchmark: Benchmark | None,
    load: "_Taken | None",
    suits: Mapping[str, float],
) -> ModelPerformance:
    here = load.load if load else None
    return ModelPerformance(
        model=model,
        at=timezone.now(),
        tokens_per_second=_rounded(sums.tokens_per_s if sums.completion_tokens else None),
        avg_latency_ms=_rounded(sums.mean_total_ms),
        error_rate=sums.failures / sums.requests if sums.requests else None,
        total_requests=sums.requests,
        memory_mb=here.resident_mib if here else load.peak_mib if load else None,
        cpu_percent=_rounded(here.cpu_percent) if here else None,
        memory_percent=_rounded(_memory_percent(here)) if here else None,
        benchmarks=_benchmarked(benchmark),
        task_suitability=dict(suits),
    )


def _memory_percent(load: Load) -> float:
    return 100 * load.resident_mib * MIB / psutil.virtual_memory().total


def _kept_today(models: Sequence[DiscoveredModel]) -> dict[int, ModelPerformance]:
    since = timezone.now() - DAY
    rows = ModelPerformance.objects.filter(model__in=models, at__gte=since)
    return {row.model_id: row for row in rows.order_by("at", "pk")}


def _keep(rows: Iterable[ModelPerformance]) -> int:
    kept = ModelPerformance.objects.bulk_create(filter(is_measured, rows), batch_size=CHUNK)
    pks = {row.model_id for row in kept}
    counted = ModelPerformance.objects.filter(model__in=pks).order_by().values_list("model")
    for pk, _ in counted.annotate(count=Count("pk")).filter(count__gt=MAX_KEPT):
        newest = ModelPerformance.objects.filter(model=pk).values_list("pk", flat=True)
        ModelPerformance.objects.filter(pk__in=list(newest[MAX_KEPT:])).delete()
    return len(kept)


def _sums(model_ids: Collection[str]) -> dict[str, Sums]:
    rows = UsageMinute.objects.filter(
        minute__gte=timezone.now() - DAY, model_id__in=model_ids
    ).order_by()
    summed = rows.values_list("model_id").annotate(*map(Sum, FIELDS))
    return {model_id: Sums(*sums) for model_id, *sums in summed}


class _Taken:
    """What the servers of a model take: now, of those that run here, or at most."""

    def __init__(self) -> None:
        self.load: Load | None = None
        self.peak_mib: int | None = None

    def add(self, server: Server) -> None:
        load = load_of(server)
        if load is not None and self.load is not None:
            both = self.load.resident_mib + load.resident_mib
            self.load = Load(self.load.cpu_percent + load.cpu_percent, both)
        else:
            self.load = self.load or load
        if server.peak_mib is not None:
            self.peak_mib = max(self.peak_mib or 0, server.peak_mib)


def _loads(models: Sequence[DiscoveredModel]) -> dict[int, _Taken]:
    taken: dict[int, _Taken] = {}
    rows = Server.objects.filter(model__in=models).defer("argv", "log_tail")
    for server in rows:
        if server.state in RUNNING or server.peak_mib is not None:
            taken.setdefault(server.model_id, _Taken()).add(server)
    return taken


def _benchmarked(benchmark: Benchmark | None) -> dict[str, Any]:
    if benchmark is None:
        return {}
    figures: dict[str, Any] = {name: getattr(benchmark, name) for name in _BENCHMARKED}
    at = benchmark.finished_at or benchmark.asked_at
    return {**figures, "at": at.isoformat(), "id": benchmark.pk}


def _suitability(models: Sequence[DiscoveredModel]) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = {}
    for task, ranked in suitabilities(models).items():
        for each in ranked:
            scores.setdefault(each.model.model_id, {})[task] = each.score
    return scores


def last_used(models: Sequence[DiscoveredModel]) -> dict[int, Any]:
    """Return when the gateway last gave each model a request, by the model's row."""
    rows = Server.objects.filter(model__in=models, last_used_at__isnull=False).order_by()
    return dict(rows.values_list("model").annotate(Max("last_used_at")))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
