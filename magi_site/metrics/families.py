"""What the web processes have counted, as families of metrics."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from magi_site.metrics.shared import Told
from servers_app.gateway.gauges import Gauges
from servers_app.gateway.metrics import BOUNDS, Counts, Histogram, Series

LABELS = ("model", "tier", "outcome")
_EDGES = [*(repr(bound) for bound in BOUNDS), "+Inf"]


def process_families(told: Told) -> Iterator[Metric]:
    """Yield a family for each figure that the web processes of this machine count."""
    counts, gauges = told
    requests = CounterMetricFamily(
        "magi_requests", "Requests to /v1 and /api/query that are over.", labels=LABELS
    )
    for labels, series in sorted(counts.series.items()):
        requests.add_metric(labels, series.requests)
    yield requests
    yield from _tokens(counts)
    yield _histogram(
        "magi_request_first_byte_seconds",
        "Until the first byte of the answer; of streams, about the first token.",
        counts,
        lambda series: series.first,
    )
    yield _histogram(
        "magi_request_duration_seconds",
        "Until the end of the answer.",
        counts,
        lambda series: series.total,
    )
    yield _histogram(
        "magi_request_queue_seconds",
        "That a request waited for a server to load, and for a slot of it.",
        counts,
        lambda series: series.queued,
    )
    errors = CounterMetricFamily(
        "magi_request_errors",
        "Errors that the gateway answered, by their code.",
        labels=["code"],
    )
    for code, count in sorted(counts.errors.items()):
        errors.add_metric([code], count)
    yield errors
    retries = CounterMetricFamily(
        "magi_request_retries",
        "Servers that did not answer a request, which was then given to another.",
        labels=["model"],
    )
    for model, count in sorted(counts.retries.items()):
        retries.add_metric([model], count)
    yield retries
    yield from _gauges(gauges)


def _tokens(counts: Counts) -> Iterator[Metric]:
    by_model: dict[tuple[str, str], Series] = defaultdict(Series)
    for of, counted in counts.series.items():
        by_model[of.model, of.tier].add(counted)
    figures: list[tuple[str, str, Callable[[Series], int]]] = [
        ("prompt", "Tokens of prompts, with the cached ones.", lambda one: one.prompt),
        ("cached", "Tokens of prompts that came out of a cache.", lambda one: one.cached),
        ("completion", "Tokens that models wrote.", lambda one: one.completion),
    ]
    for name, help_text, value in figures:
        family = CounterMetricFamily(f"magi_{name}_tokens", help_text, labels=["model", "tier"])
        for labels, series in sorted(by_model.items()):
            family.add_metric(labels, value(series))
        yield family


def _histogram(
    name: str, help_text: str, counts: Counts, value: Callable[[Series], Histogram]
) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=LABELS)
    for labels, series in sorted(counts.series.items()):
        histogram, sum_so_far, buckets = value(series), 0, []
        for edge, count in zip(_EDGES, histogram.counts, strict=True):
            sum_so_far += count
            buckets.append((edge, sum_so_far))
        family.add_metric(labels, buckets, histogram.sum_s)
    return family


def _gauges(gauges: Iterable[Gauges]) -> Iterator[Metric]:
    """Yield the sums over the processes; of breakers, the worst that one of them has."""
    working: dict[str, int] = defaultdict(int)
    waiting: dict[tuple[str, str], int] = defaultdict(int)
    breakers: dict[tuple[str, int], int] = defaultdict(int)
    processes = 0
    for one in gauges:
        processes += 1
        for model, count in one.in_flight.items():
            working[model] += count
        for what, counts in (("slot", one.queued), ("load", one.loading)):
            for model, count in counts.items():
                waiting[model, what] += count
        for key, state in one.breakers.items():
            breakers[key] = max(breakers[key], state)
    yield GaugeMetricFamily(
        "magi_web_processes", "Web processes of this machine that live.", value=processes
    )
    in_flight = GaugeMetricFamily(
        "magi_requests_in_flight", "Requests that servers work on.", labels=["model"]
    )
    for model, count in sorted(working.items()):
        in_flight.add_metric([model], count)
    yield in_flight
    queue = GaugeMetricFamily(
        "magi_requests_waiting",
        "Requests that wait: for a slot of a server, or for one to load.",
        labels=["model", "for"],
    )
    for labels, count in sorted(waiting.items()):
        queue.add_metric(labels, count)
    yield queue
    breaker = GaugeMetricFamily(
        "magi_breaker_state",
        "Of the circuit breaker of a server: 0 closed, 1 half open, 2 open.",
        labels=["model", "server"],
    )
    for (model, server), state in sorted(breakers.items()):
        breaker.add_metric([model, str(server)], state)
    yield breaker
