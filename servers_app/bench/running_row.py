"""The row of a benchmark or a search while it is worked on: watched, ended, or queued again.

Whoever calls these holds the lock of the node.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import Error, connections
from django.utils import timezone

from models_app.worker_end import stopping
from servers_app.bench.measuring import Stop
from servers_app.bench.rows import CANCELLED, tell
from servers_app.benchmark_models import Benchmark, BenchmarkState

logger = logging.getLogger(__name__)

ASK_S: Final = 0.5  # how soon a cancellation is seen


@contextmanager
def watched(benchmark_id: int, stop: Stop, deadline: float = math.inf) -> Iterator[None]:
    """Set `stop` as soon as the row is not wanted any more, or the worker is to end.

    Args:
        deadline: monotonic seconds, after which it is set as well.
    """
    is_over = threading.Event()

    def is_to_end() -> bool:
        if stopping.is_set() or time.monotonic() >= deadline:
            return True
        return not Benchmark.objects.filter(pk=benchmark_id, is_wanted=True).exists()

    def watch() -> None:
        try:
            while not is_over.wait(ASK_S):
                try:
                    if is_to_end():
                        stop.set()
                        return
                except Error:  # the database is away for a moment
                    logger.warning("Whether benchmark %s is wanted is not known", benchmark_id)
        finally:
            connections.close_all()

    watching = threading.Thread(target=watch, name="bench-wanted", daemon=True)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


def end(benchmark: Benchmark, state: BenchmarkState, **columns: Any) -> None:
    """Write down how it ended; one that somebody else has ended is left as it is."""
    columns = {"note": "", **columns}
    if state == BenchmarkState.FINISHED:
        columns["progress"] = 1.0
    _write(benchmark, state, finished_at=timezone.now(), **columns)


def end_lost(benchmark: Benchmark, why: str) -> None:
    """End one whose worker has gone."""
    if benchmark.is_wanted:
        end(benchmark, BenchmarkState.FAILED, error=why)
    else:
        end(benchmark, BenchmarkState.CANCELLED, error=CANCELLED)


def queue_again(benchmark: Benchmark) -> None:
    """Leave it to the next worker: nothing of it was at fault."""
    columns: dict[str, Any] = {"started_at": None, "progress": 0.0, "note": "", "outcome": {}}
    _write(benchmark, BenchmarkState.QUEUED, **columns)


def _write(benchmark: Benchmark, state: BenchmarkState, **columns: Any) -> None:
    Benchmark.objects.filter(pk=benchmark.pk, state=BenchmarkState.RUNNING).update(
        state=state, **columns
    )
    benchmark.state = state
    for name, value in columns.items():
        setattr(benchmark, name, value)
    tell(benchmark)
