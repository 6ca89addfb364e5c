"""What the page of a model has of its benchmarks."""

from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.models import DiscoveredModel
from servers_app.bench.pictures import history_of
from servers_app.bench.results import history
from servers_app.bench.terminal import shown
from servers_app.benchmark_models import Benchmark, BenchmarkState

SHOWN: Final = 6
COLOURS: Final = {
    BenchmarkState.QUEUED: "starting",
    BenchmarkState.RUNNING: "starting",
    BenchmarkState.FINISHED: "ready",
    BenchmarkState.FAILED: "failed",
    BenchmarkState.CANCELLED: "stopped",
}


def state_badge(benchmark: Benchmark) -> SafeString:
    state = BenchmarkState(benchmark.state)
    percent = f" {benchmark.progress:.0%}" if state == BenchmarkState.RUNNING else ""
    badge = '<span class="magi-badge magi-{}">{}{}</span>'
    return format_html(badge, COLOURS[state], state.label, percent)


def of_model(model: DiscoveredModel) -> dict[str, Any]:
    """Return what the page of a model has of its benchmarks."""
    rows = Benchmark.objects.filter(model_id=model.model_id)
    latest = list(rows.defer("figures", "outcome", "settings")[:SHOWN])
    return {
        "rows": [
            {
                "benchmark": each,
                "badge": state_badge(each),
                "prompt": shown(each.prompt_tokens_per_s),
                "generation": shown(each.generation_tokens_per_s),
                "first": shown(each.first_token_ms),
            }
            for each in latest
        ],
        "charts": history_of(history(model.model_id)),
    }
