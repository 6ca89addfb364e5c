"""Charts of benchmarks: what was measured over contexts, over clients, over time."""

from collections.abc import Sequence

from django.utils import timezone

from models_app.charts import Chart, Series
from servers_app.bench.results import DEPTH, TOGETHER, Figure, figures_of
from servers_app.bench.terminal import shown
from servers_app.benchmark_models import Benchmark


def charts_of(benchmark: Benchmark) -> list[Chart]:
    """Return the charts of one benchmark; none, if it has no figures."""
    figures = list(figures_of(benchmark))
    return [
        chart
        for chart in (
            _spread_over(figures, DEPTH, "prompt_tokens_per_s", "Prompt by its length"),
            _spread_over(
                figures, DEPTH, "generation_tokens_per_s", "Generation by what is before it"
            ),
            _spread_over(figures, DEPTH, "first_token_ms", "First token by the prompt"),
            _spread_over(figures, TOGETHER, "latency_ms", "Whole answer by clients at once"),
            _spread_over(figures, TOGETHER, "total_tokens_per_s", "All clients together"),
        )
        if chart is not None
    ]


def history_of(benchmarks: Sequence[Benchmark]) -> list[Chart]:
    """Return how fast a model was over time, the oldest first."""
    labels = [f"{timezone.localtime(each.asked_at):%d %b}" for each in benchmarks]
    return [
        Chart(
            title,
            labels,
            [Series(title, [getattr(each, name) for each in benchmarks])],
            unit="tokens/s",
            summary=f"{shown(getattr(benchmarks[-1], name))} tokens/s in the newest",
        )
        for title, name in (
            ("Generation", "generation_tokens_per_s"),
            ("Prompt", "prompt_tokens_per_s"),
        )
        if benchmarks
    ]


def _spread_over(
    figures: Sequence[Figure], measured: str, name: str, title: str
) -> Chart | None:
    """Return a chart of the medians, with the least and the most beside them."""
    found = [each for each in figures if (each.measured, each.name) == (measured, name)]
    if not found:
        return None
    spreads = [each.spread for each in found]
    unit = "tokens/s" if name.endswith("_per_s") else "ms"
    return Chart(
        title,
        [
            f"{each.context:,}" if measured == DEPTH else f"{each.clients} at once"
            for each in found
        ],
        [
            Series("Median", [each.median for each in spreads]),
            Series("Least", [each.min for each in spreads]),
            Series("Most", [each.max for each in spreads]),
        ],
        unit=unit,
        summary=f"{shown(spreads[0].median)} {unit} in the first",
    )
