"""Search for better run settings: what a worker does of it, one search at a time on a node.

The baseline is measured first, and again at the end, beside what was found: so the gain is
one of the same minutes, and a machine that grew slower or faster meanwhile is found out.
A search of a worker that has gone is not made again by itself: it may have been what took
the worker with it. It ends as failed; the trials that it had made stay. A worker that is told
to end leaves its search to the next one.
"""

import logging
import time
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from models_app.errors import ModelsError
from models_app.locks import node_lock
from models_app.lookup import get_model
from models_app.worker_end import stopping
from profiles_app.errors import ProfilesError
from servers_app.bench.measuring import Stop
from servers_app.bench.rows import CANCELLED, tell
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.bench.running_row import end, end_lost, queue_again, watched
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import BenchmarkCancelledError, ServersError
from servers_app.tuning.goals import Goal
from servers_app.tuning.session import Session, Told
from servers_app.tuning.trials import Bench

logger = logging.getLogger(__name__)

MAX_NOTE_CHARS: Final = 300
LOST: Final = (
    "The process that searched ended before it was done. Search again; if that ends so, too, "
    "the log of the worker says why."
)
UNFORESEEN: Final = "It failed unforeseen; the log of the worker says why."
NO_TIME: Final = (
    "The time was over before the baseline was measured. Give it more minutes: --minutes."
)


def run(benchmark_id: int) -> None:
    """Make a search, unless something is measured on this node: then it waits its turn."""
    with node_lock(ONE_AT_A_TIME) as held:
        if not held:
            return
        started = Benchmark.objects.filter(pk=benchmark_id, state=BenchmarkState.QUEUED)
        if started.update(state=BenchmarkState.RUNNING, started_at=timezone.now()):
            _search(Benchmark.objects.get(pk=benchmark_id))


def left_behind() -> list[int]:
    """Return the search of this node that is next, after ending those whose worker died."""
    states = (BenchmarkState.QUEUED, BenchmarkState.RUNNING)
    if not _rows(*states).exists():
        return []
    with node_lock(ONE_AT_A_TIME) as held:
        if not held:
            return []
        for benchmark in _rows(BenchmarkState.RUNNING):
            end_lost(benchmark, LOST)
        return list(_rows(BenchmarkState.QUEUED).values_list("pk", flat=True)[:1])


def _search(benchmark: Benchmark) -> None:
    stop = Stop()
    plan = benchmark.plan
    deadline = time.monotonic() + 60 * plan["minutes"]
    try:
        with watched(benchmark.pk, stop, deadline):
            session = Session(
                Bench(get_model(benchmark.model_id), stop),
                Goal(plan["goal"]),
                deadline,
                allow_lossy=plan.get("allow_lossy", False),
                tell=lambda told: _tell_progress(benchmark, told),
            )
            outcome = session.run()
        end(benchmark, BenchmarkState.FINISHED, **session.columns(outcome))
    except BenchmarkCancelledError:
        if stopping.is_set():
            queue_again(benchmark)
        elif time.monotonic() >= deadline:
            end(benchmark, BenchmarkState.FAILED, error=NO_TIME)
        else:
            end(benchmark, BenchmarkState.CANCELLED, error=CANCELLED)
    except (ServersError, ModelsError, ProfilesError) as error:
        end(benchmark, BenchmarkState.FAILED, error=str(error))
    except Exception:
        logger.exception("The search %s failed", benchmark.pk)
        end(benchmark, BenchmarkState.FAILED, error=UNFORESEEN)


def _tell_progress(benchmark: Benchmark, told: Told) -> None:
    benchmark.progress, benchmark.note = told.progress, told.note[:MAX_NOTE_CHARS]
    benchmark.outcome = told.outcome
    benchmark.save(update_fields=["progress", "note", "outcome"])
    tell(benchmark)


def _rows(*states: BenchmarkState) -> Any:
    return Benchmark.objects.filter(
        node=settings.MAGI_NODE, kind=BenchmarkKind.TUNE, state__in=states
    ).order_by("pk")
