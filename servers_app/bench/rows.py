"""The rows of benchmarks, as they are made and told of."""

from functools import partial
from typing import Any, Final

from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.events import TASK, publish
from models_app.models import DiscoveredModel, ModelKind
from servers_app.bench.plan import Plan
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import Benchmark
from servers_app.errors import BenchmarkInvalidError, NotLaunchableError

MAX_WHO_CHARS: Final = 150
CANCELLED: Final = "It was cancelled."


@transaction.atomic
def write_down(model: DiscoveredModel, plan: Plan, *, who: str = "", **more: Any) -> Benchmark:
    """Make the row of a benchmark, and tell the audit who wants it.

    Raises:
        BenchmarkInvalidError: a model of that kind generates nothing.
        NotLaunchableError: the model's files are missing or broken.
    """
    if model.kind in (ModelKind.EMBEDDING, ModelKind.RERANKER):
        msg = (
            f"{model.model_id} generates nothing: its kind is {model.kind}. Benchmarks are of "
            "models that do."
        )
        raise BenchmarkInvalidError(msg)
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be run: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    benchmark = Benchmark.objects.create(
        model_id=model.model_id,
        node=measuring_node(model),
        plan=plan.as_json(),
        asked_by=who[:MAX_WHO_CHARS],
        **more,
    )
    after = {"benchmark": benchmark.pk, **plan.as_json()}
    audit.record(Action.BENCHMARK, model, after=after, who=who)
    transaction.on_commit(partial(tell, benchmark))
    return benchmark


def tell(benchmark: Benchmark) -> None:
    """Tell the listeners how a benchmark is."""
    publish(
        TASK,
        {
            "task": "benchmark",
            "benchmark_id": benchmark.pk,
            "model_id": benchmark.model_id,
            "state": benchmark.state,
            "percent": round(100 * benchmark.progress),
        },
    )
