"""Ask for a benchmark, cancel it, wait for it. Nothing is measured here."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from models_app import audit
from models_app.audit_models import Action
from models_app.models import DiscoveredModel
from models_app.queue import enqueue
from servers_app import tasks
from servers_app.bench.plan import Plan, plan_of
from servers_app.bench.results import get_benchmark
from servers_app.bench.rows import CANCELLED, tell, write_down
from servers_app.benchmark_models import (
    BENCHMARK_UNDER_WAY,
    Benchmark,
    BenchmarkState,
)

POLL_S: Final = 0.1
DEFAULT: Final = Plan()


def request_benchmark(
    model: DiscoveredModel,
    *,
    contexts: Sequence[int] = DEFAULT.contexts,
    clients: Sequence[int] = DEFAULT.clients,
    repeats: int = DEFAULT.repeats,
    who: str = "",
    **more: Any,
) -> Benchmark:
    """Have the worker of the model's node measure it, when those before it are done.

    Args:
        contexts: lengths of prompts, in tokens.
        clients: how many ask at once.
        more: tokens, target, max_seconds, as a Plan has them.

    Raises:
        BenchmarkInvalidError: it cannot be measured so; the message says what can be.
        NotLaunchableError: the model's files are missing or broken.
        QueueUnavailableError: (after the commit) the queue did not take the task. It is
            measured all the same, when the queue is back.
    """
    lists = {"contexts": list(contexts), "clients": list(clients)}
    plan = plan_of({**lists, "repeats": repeats, **more})
    with transaction.atomic():
        benchmark = write_down(model, plan, who=who)
        transaction.on_commit(
            partial(enqueue, tasks.measure, benchmark.node, node=benchmark.node)
        )
    return benchmark


@transaction.atomic
def cancel_benchmark(benchmark: Benchmark, *, who: str = "") -> None:
    """Want a benchmark no more; one that has ended stays as it is.

    A queued one is cancelled at once, and one that runs by who measures, within a second.
    """
    under_way = Benchmark.objects.filter(
        pk=benchmark.pk, state__in=BENCHMARK_UNDER_WAY, is_wanted=True
    )
    if not under_way.update(is_wanted=False):
        return
    queued = Benchmark.objects.filter(pk=benchmark.pk, state=BenchmarkState.QUEUED)
    queued.update(
        state=BenchmarkState.CANCELLED, error=CANCELLED, finished_at=timezone.now(), note=""
    )
    audit.record(Action.CANCEL, benchmark, after={"model_id": benchmark.model_id}, who=who)
    benchmark.refresh_from_db()
    transaction.on_commit(partial(tell, benchmark))


def wait_for(
    benchmark_id: int,
    *,
    seconds: float,
    until: Callable[[Benchmark], bool] = lambda row: row.state not in BENCHMARK_UNDER_WAY,
) -> Benchmark:
    """Return a benchmark when it is as `until` wants it, or when the time is up.

    Raises:
        BenchmarkNotFoundError: there is none of that number.
    """
    deadline = time.monotonic() + seconds
    while True:
        benchmark = get_benchmark(benchmark_id)
        if until(benchmark) or time.monotonic() >= deadline:
            return benchmark
        time.sleep(POLL_S)
