"""How many Celery tasks this process has done, by their names.

A worker has no HTTP: its heartbeat writes this into its node's row, where whoever is asked
for metrics reads it. It counts from the worker's start.
"""

import threading
import time
from typing import Any, Final, TypedDict

from celery.signals import task_postrun, task_prerun

# Names are those of our code, so this is never met; it bounds what a row can come to.
MAX_NAMES: Final = 200
OTHER: Final = "other"
# What a message says that names no task of ours is in no series of its own.
_FAILURES: Final = frozenset({"FAILURE", "REJECTED"})


class TaskCount(TypedDict):
    done: int  # ended, whatever came of them
    failed: int  # of those
    running: int  # now
    seconds: float  # that the ended ones took together


_lock: Final = threading.Lock()
_counts: Final[dict[str, TaskCount]] = {}
_began: Final[dict[str, float]] = {}  # monotonic, by task id


def task_counts() -> dict[str, TaskCount]:
    """Return what is counted, by the names of tasks; JSON takes it as it is."""
    with _lock:
        return {
            name: {**count, "seconds": round(count["seconds"], 3)}
            for name, count in sorted(_counts.items())
        }


def _count_of(name: str) -> TaskCount:
    if name not in _counts and len(_counts) >= MAX_NAMES:
        name = OTHER
    return _counts.setdefault(name, TaskCount(done=0, failed=0, running=0, seconds=0.0))


def _on_start(*, task_id: str, task: Any, **_signal: Any) -> None:
    with _lock:
        _began[task_id] = time.monotonic()
        _count_of(task.name)["running"] += 1


def _on_end(*, task_id: str, task: Any, state: str | None = None, **_signal: Any) -> None:
    with _lock:
        began = _began.pop(task_id, None)
        if began is None:
            return
        count = _count_of(task.name)
        count["running"] -= 1
        count["done"] += 1
        count["failed"] += state in _FAILURES
        count["seconds"] += time.monotonic() - began


task_prerun.connect(_on_start, weak=False)
task_postrun.connect(_on_end, weak=False)
