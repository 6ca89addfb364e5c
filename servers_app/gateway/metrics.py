"""What the requests of this process come to: counted in memory, as each of them ends.

Nothing here waits for anything. A name that a client made up is in no series: the labels are
model ids of the routing table, tiers, outcomes, and error codes of our own.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from servers_app.gateway.errors import GatewayError, RoutesUnknownError
from servers_app.gateway.live import Tables
from servers_app.gateway.routes import TIERS, RoutingTable
from servers_app.gateway.trace import Trace

FORMAT: Final = 1  # of what `Counts.as_json` gives
# Seconds: from an embedding of a few words to a long answer of a large model on a CPU.
BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
)  # fmt: skip
NONE: Final = "(none)"  # no model of ours was asked for, or came to answer; no id has brackets
OTHER: Final = "(other)"
MAX_SERIES: Final = 5000  # of models that came and went in the life of a process
MAX_CODES: Final = 200


class Labels(NamedTuple):
    model: str
    tier: str
    outcome: str


class Histogram:
    """How many values were up to each of BOUNDS, and how many above; and their sum."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, counts: list[int] | None = None, sum_s: float = 0.0) -> None:
        self.counts = counts or [0] * (len(BOUNDS) + 1)
        self.sum_s = sum_s

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum_s += seconds

    def add(self, other: "Histogram") -> None:
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s


class Series:
    """The requests with the same labels."""

    __slots__ = ("cached", "completion", "first", "prompt", "queued", "requests", "total")

    def __init__(self) -> None:
        self.requests = 0
        self.prompt = 0  # tokens, with the cached ones
        self.cached = 0
        self.completion = 0
        self.first = Histogram()  # until the first byte of the answer; those that had one
        self.total = Histogram()
        self.queued = Histogram()

    def add(self, other: "Series") -> None:
        self.requests += other.requests
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion
        for mine, its in zip(self.histograms(), other.histograms(), strict=True):
            mine.add(its)

    def histograms(self) -> tuple[Histogram, Histogram, Histogram]:
        return self.first, self.total, self.queued

    def as_json(self) -> list[Any]:
        numbers: list[Any] = [self.requests, self.prompt, self.cached, self.completion]
        return numbers + [[one.counts, one.sum_s] for one in self.histograms()]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Series":
        series = cls()
        series.requests, series.prompt, series.cached, series.completion = value[:4]
        series.first, series.total, series.queued = (Histogram(*one) for one in value[4:])
        return series


class Counts:
    """The sums of some processes: series by labels, errors by code, retries by model."""

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}
        self.errors: dict[str, int] = {}
        self.retries: dict[str, int] = {}

    def add(self, other: "Counts") -> None:
        for labels, series in other.series.items():
            self.series.setdefault(labels, Series()).add(series)
        for mine, its in ((self.errors, other.errors), (self.retries, other.retries)):
            for name, count in its.items():
                mine[name] = mine.get(name, 0) + count

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "series": [[*labels, *series.as_json()] for labels, series in self.series.items()],
            "errors": self.errors,
            "retries": self.retries,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Counts":
        """Take what `as_json` gave, of this version or another.

        Raises:
            ValueError, KeyError, TypeError: another version's, or no counts at all.
        """
        if value["format"] != FORMAT:
            message = f"Format {value['format']!r} of counts is not known."
            raise ValueError(message)
        counts = cls()
        for row in value["series"]:
            counts.series[Labels(*row[:3])] = Series.from_json(row[3:])
        counts.errors = {str(code): int(count) for code, count in value["errors"].items()}
        counts.retries = {str(name): int(count) for name, count in value["retries"].items()}
        return counts


class RequestMetrics:
    """Counts the requests of this process. Used in one event loop, and never waits."""

    def __init__(self, tables: Tables) -> None:
        self.counts = Counts()
        self._tables = tables

    def done(self, trace: Trace) -> None:
        """Count a request that is over."""
        model, tier = self._model_and_tier(trace)
        series = self._series_of(Labels(model, tier, trace.outcome))
        series.requests += 1
        series.total.observe(trace.total_s or 0.0)
        series.queued.observe(trace.queued_s)
        if trace.first_byte_s is not None:
            series.first.observe(trace.first_byte_s)
        series.prompt += trace.prompt_tokens or 0
        series.cached += trace.cached_tokens or 0
        series.completion += trace.completion_tokens or 0
        if trace.retries:
            retries = self.counts.retries
            retries[model] = retries.get(model, 0) + trace.retries

    def refused(self, error: GatewayError) -> None:
        """Count an error that a client was answered, or would have been."""
        errors, code = self.counts.errors, error.code or error.type
        if code not in errors and len(errors) >= MAX_CODES:
            code = OTHER
        errors[code] = errors.get(code, 0) + 1

    def _series_of(self, labels: Labels) -> Series:
        series = self.counts.series.get(labels)
        if series is None:
            if len(self.counts.series) >= MAX_SERIES:
                labels = labels._replace(model=OTHER)
            series = self.counts.series.setdefault(labels, Series())
        return series

    def _model_and_tier(self, trace: Trace) -> tuple[str, str]:
        """Return who answered, or of what was asked for the part that is ours."""
        if trace.model_id:
            return trace.model_id, trace.tier or NONE
        if trace.asked in TIERS:
            return NONE, trace.asked
        table = self._table()
        route = None if table is None else table.model_named(trace.asked)
        return (NONE, NONE) if route is None else (route.model_id, route.tier or NONE)

    def _table(self) -> RoutingTable | None:
        try:
            return self._tables.current
        except RoutesUnknownError:
            return None
