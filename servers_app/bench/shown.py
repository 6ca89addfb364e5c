"""A benchmark as JSON: for the API, and for `--json`."""

from typing import Any

from servers_app.bench.applying import challenges, expected_seconds
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState

OUTLINE = (
    "model_id",
    "node",
    "kind",
    "state",
    "progress",
    "note",
    "error",
    "build",
    "machine",
    "prompt_tokens_per_s",
    "generation_tokens_per_s",
    "first_token_ms",
    "load_seconds",
    "peak_ram_mib",
    "peak_vram_mib",
    "asked_by",
)
TIMES = ("asked_at", "started_at", "finished_at")


def outline_of(benchmark: Benchmark) -> dict[str, Any]:
    """Return what a list has of it."""
    times = {name: getattr(benchmark, name) for name in TIMES}
    return {
        "id": benchmark.pk,
        **{name: getattr(benchmark, name) for name in OUTLINE},
        **{name: at.isoformat() if at else None for name, at in times.items()},
    }


def detail_of(benchmark: Benchmark) -> dict[str, Any]:
    """Return all of it, with what it says of the model's tier."""
    is_measured = (
        benchmark.kind == BenchmarkKind.MEASURE and benchmark.state == BenchmarkState.FINISHED
    )
    return {
        **outline_of(benchmark),
        "settings": benchmark.settings,
        "plan": benchmark.plan,
        "figures": benchmark.figures,
        "outcome": benchmark.outcome,
        "expected_time_seconds": expected_seconds(benchmark) if is_measured else None,
        "challenges": challenges(benchmark) if is_measured else [],
    }
