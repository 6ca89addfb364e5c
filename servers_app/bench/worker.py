"""Measure what was asked for: one benchmark at a time on a node.

A benchmark of a worker that has gone is not measured again by itself: it may have been what
took the worker with it. It ends as failed, and says so. A worker that is told to end leaves
its benchmark to the next one.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from models_app.locks import node_lock
from models_app.models import DiscoveredModel
from models_app.worker_end import stopping
from servers_app.bench.measurement import Outcome, carry_out
from servers_app.bench.measuring import Stop
from servers_app.bench.plan import Plan, plan_of
from servers_app.bench.rows import CANCELLED, tell, write_down
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.bench.running_row import end, end_lost, queue_again, watched
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import BenchmarkCancelledError, ServersError
from servers_app.hardware import read_hardware

logger = logging.getLogger(__name__)

TELL_S: Final = 0.25  # between two notes of how far it is
GIB: Final = 2**30
MAX_NOTE_CHARS: Final = 300
LOST: Final = (
    "The process that measured it ended before it was done. Measure it again; if that ends "
    "so, too, the log of the worker says why."
)
UNFORESEEN: Final = "It failed unforeseen; the log of the worker says why."

OnProgress = Callable[[Benchmark], None]


def work_off(node: str) -> None:
    """Measure what is queued for this node, the oldest first; call it as often as you like.

    Who finds that another process measures leaves at once: that one takes the rest.
    """
    while not stopping.is_set() and _rows(node, BenchmarkState.QUEUED, BenchmarkState.RUNNING):
        with node_lock(ONE_AT_A_TIME) as held:
            if not held:
                return
            _conclude_lost(node)
            queued = _rows(node, BenchmarkState.QUEUED).order_by("pk")
            while not stopping.is_set() and (benchmark := queued.first()):
                measure(benchmark)


def measure_here(
    model: DiscoveredModel,
    plan: Plan,
    *,
    who: str = "",
    on_progress: OnProgress | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Benchmark:
    """Measure within this process, when whatever is measured on this node is done.

    Args:
        on_wait: called many times a second while another one is.

    Raises: as rows.write_down. That it could not be measured is in the row.
    """

    def wait() -> bool:
        on_wait()
        return True

    with node_lock(ONE_AT_A_TIME, wait=wait):
        _conclude_lost(settings.MAGI_NODE)
        # It is never queued: a worker would take it.
        state = {"state": BenchmarkState.RUNNING, "started_at": timezone.now()}
        benchmark = write_down(model, plan, who=who, **state)
        _carry_out(benchmark, on_progress)
    benchmark.refresh_from_db()
    return benchmark


def measure(benchmark: Benchmark, on_progress: OnProgress | None = None) -> None:
    """Measure a queued one, unless somebody else does; hold the lock of the node."""
    started = Benchmark.objects.filter(pk=benchmark.pk, state=BenchmarkState.QUEUED).update(
        state=BenchmarkState.RUNNING, started_at=timezone.now()
    )
    if started:
        benchmark.refresh_from_db()
        _carry_out(benchmark, on_progress)


def machine() -> str:
    """Return what this machine is, as a benchmark keeps it."""
    hardware = read_hardware()
    parts = [
        hardware.cpu,
        f"{hardware.logical_cores} cores",
        f"{hardware.total_bytes / GIB:.0f} GiB",
        *(f"{gpu.name} {gpu.total_bytes / GIB:.0f} GiB" for gpu in hardware.gpus),
    ]
    return ", ".join(parts)[:300]


def _carry_out(benchmark: Benchmark, on_progress: OnProgress | None) -> None:
    stop = Stop()
    told = _Told(benchmark, on_progress)
    try:
        with watched(benchmark.pk, stop):
            model = DiscoveredModel.objects.filter(model_id=benchmark.model_id).first()
            if model is None:
                end(benchmark, BenchmarkState.FAILED, error=_gone(benchmark))
                return
            # Before it, because it wakes drivers of GPUs.
            Benchmark.objects.filter(pk=benchmark.pk).update(machine=machine())
            outcome = carry_out(model, plan_of(benchmark.plan), stop=stop, tell=told)
            end(benchmark, BenchmarkState.FINISHED, **_columns(outcome))
    except BenchmarkCancelledError:
        if stopping.is_set():
            queue_again(benchmark)
        else:
            end(benchmark, BenchmarkState.CANCELLED, error=CANCELLED)
    except ServersError as error:
        end(benchmark, BenchmarkState.FAILED, error=str(error))
    except KeyboardInterrupt:
        end(benchmark, BenchmarkState.CANCELLED, error=CANCELLED)
        raise
    except Exception:
        logger.exception("Benchmark %s failed", benchmark.pk)
        end(benchmark, BenchmarkState.FAILED, error=UNFORESEEN)


class _Told:
    """Writes how far a benchmark is, a few times a second at most."""

    def __init__(self, benchmark: Benchmark, on_progress: OnProgress | None) -> None:
        self._benchmark, self._on_progress = benchmark, on_progress
        self._due_at = float("-inf")

    def __call__(self, progress: float, note: str) -> None:
        benchmark = self._benchmark
        benchmark.progress, benchmark.note = min(1.0, progress), note[:MAX_NOTE_CHARS]
        if self._on_progress is not None:
            self._on_progress(benchmark)
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + TELL_S
        benchmark.save(update_fields=["progress", "note"])
        tell(benchmark)


def _rows(node: str, *states: BenchmarkState) -> Any:
    return Benchmark.objects.filter(node=node, kind=BenchmarkKind.MEASURE, state__in=states)


def _conclude_lost(node: str) -> None:
    """End those that run by their rows; call it with the lock, so that nobody measures."""
    for benchmark in _rows(node, BenchmarkState.RUNNING):
        end_lost(benchmark, LOST)


def _columns(outcome: Outcome) -> dict[str, Any]:
    return {
        "build": outcome.build[:100],
        "settings": outcome.settings,
        "figures": outcome.figures,
        "note": " ".join(outcome.notes)[:MAX_NOTE_CHARS],
        "prompt_tokens_per_s": outcome.prompt_tokens_per_s,
        "generation_tokens_per_s": outcome.generation_tokens_per_s,
        "first_token_ms": outcome.first_token_ms,
        "load_seconds": outcome.load_seconds,
        "peak_ram_mib": outcome.peak_ram_mib,
        "peak_vram_mib": outcome.peak_vram_mib,
    }


def _gone(benchmark: Benchmark) -> str:
    return f"{benchmark.model_id} is not registered any more. Rescan, and measure it again."
