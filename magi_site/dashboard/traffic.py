"""What the gateway did of late: the last hour by the minute, and how fast servers answer.

Each look costs a few queries, of which none reads more than SAMPLED or SPEEDS rows of the
request log, however long that is.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import F, Sum
from django.db.models.functions import Least
from django.utils import timezone

from models_app.charts import Chart, Series
from servers_app.figures import percentile
from servers_app.request_models import RequestRecord, UsageMinute

MINUTES: Final = 60
SAMPLED: Final = 3_000  # requests, of all that came in the hour
LATELY: Final = timedelta(minutes=5)
SPEEDS: Final = 2_000  # requests, the newest

Sums = Mapping[datetime, Mapping[str, Any]]


def charts_of_the_hour(now: datetime) -> list[Chart]:
    """Return the charts of the minutes until `now`, the one that has begun among them.

    A minute without requests has none, and no time to a first token either: that is not 0.
    """
    last = now.replace(second=0, microsecond=0)
    minutes = [last - timedelta(minutes=back) for back in range(MINUTES - 1, -1, -1)]
    labels = [f"{timezone.localtime(minute):%H:%M}" for minute in minutes]
    sums = _sums(minutes[0])
    return [
        _tokens(minutes, labels, sums, now),
        _requests(minutes, labels, sums),
        _first_token(minutes, labels)
        if settings.MAGI_REQUEST_LOG_DAYS
        else _first_byte(minutes, labels, sums),
    ]


def speeds(now: datetime) -> dict[int, float]:
    """Return how many tokens a second servers wrote LATELY, while they answered, by their ids.

    An answer that was not streamed counts with the time that its prompt took.
    """
    tokens: defaultdict[int, float] = defaultdict(float)
    seconds: defaultdict[int, float] = defaultdict(float)
    answers = RequestRecord.objects.filter(at__gte=now - LATELY, completion_tokens__gt=0)
    rows = answers.order_by("-at").values_list(
        "server_id", "is_stream", "completion_tokens", "queued_ms", "first_byte_ms", "total_ms"
    )
    for server_id, is_stream, written, queued_ms, first_ms, total_ms in rows[:SPEEDS]:
        if server_id is None or written is None:
            continue
        began_ms = first_ms if is_stream and first_ms is not None else queued_ms
        tokens[server_id] += written
        seconds[server_id] += max(0.0, total_ms - began_ms) / 1000
    return {
        server_id: tokens[server_id] / taken for server_id, taken in seconds.items() if taken
    }


def _sums(since: datetime) -> Sums:
    """Return the sums of each minute that had requests."""
    by_minute = (
        UsageMinute.objects.filter(minute__gte=since)
        .order_by()
        .values("minute")
        .annotate(
            came=Sum("requests"),
            failed=Sum("failures"),
            # One that broke off in the middle had a first byte, and counts as failed.
            whole=Sum(Least(F("answered"), F("requests") - F("failures"))),
            tokens=Sum("completion_tokens"),
            with_first_byte=Sum("answered"),
            until_first_byte_ms=Sum("first_byte_ms"),
        )
    )
    return {row["minute"]: row for row in by_minute}


def _each(minutes: Sequence[datetime], sums: Sums, name: str) -> list[int]:
    return [sums[minute][name] if minute in sums else 0 for minute in minutes]


def _tokens(
    minutes: Sequence[datetime], labels: Sequence[str], sums: Sums, now: datetime
) -> Chart:
    tokens = _each(minutes, sums, "tokens")
    begun_s = max(1.0, (now - minutes[-1]).total_seconds())
    rates = [count / 60 for count in tokens[:-1]] + [tokens[-1] / begun_s]
    return Chart(
        "Tokens per second",
        labels,
        [Series("tokens/s", rates)] if any(tokens) else [],
        unit="",
        summary=f"{sum(tokens):,} written in the hour",
    )


def _requests(minutes: Sequence[datetime], labels: Sequence[str], sums: Sums) -> Chart:
    came, failed = _each(minutes, sums, "came"), _each(minutes, sums, "failed")
    answered = _each(minutes, sums, "whole")
    others = [
        max(0, each - bad - good)
        for each, bad, good in zip(came, failed, answered, strict=True)
    ]
    trouble = f", {sum(failed):,} failed" if any(failed) else ""
    return Chart(
        "Requests",
        labels,
        [
            Series("answered", answered),
            Series("failed", failed),
            Series("refused, or left", others),
        ],
        kind="bars",
        summary=f"{sum(came):,} in the hour{trouble}",
    )


def _first_token(minutes: Sequence[datetime], labels: Sequence[str]) -> Chart:
    times: defaultdict[datetime, list[float]] = defaultdict(list)
    for at, seconds in _times_to_first_token(minutes[0]):
        times[at.replace(second=0, microsecond=0)].append(seconds)
    every = [seconds for found in times.values() for seconds in found]
    summary = ""
    if every:
        summary = f"{percentile(every, 50):.2g} s, p95 {percentile(every, 95):.2g} s"
    return Chart(
        "First token, of streamed answers",
        labels,
        [
            Series(f"p{part}", [_known(times.get(minute), part) for minute in minutes])
            for part in (50, 95)
        ],
        unit="s",
        summary=summary,
    )


def _first_byte(minutes: Sequence[datetime], labels: Sequence[str], sums: Sums) -> Chart:
    """Return what the sums have where no request is kept by itself: the mean of them all."""
    counts = _each(minutes, sums, "with_first_byte")
    times = _each(minutes, sums, "until_first_byte_ms")
    means = [
        taken / count / 1000 if count else None
        for taken, count in zip(times, counts, strict=True)
    ]
    summary = f"mean {sum(times) / sum(counts) / 1000:.2g} s" if any(counts) else ""
    return Chart("First byte", labels, [Series("mean", means)], unit="s", summary=summary)


def _times_to_first_token(since: datetime) -> Iterator[tuple[datetime, float]]:
    """Yield when streamed answers were asked for, and the seconds until each began.

    Of more than SAMPLED requests that many are looked at, evenly spaced.
    """
    recent = RequestRecord.objects.filter(at__gte=since).order_by("at")
    ids = recent.values_list("pk", flat=True)
    ends = [each for each in (ids.first(), ids.last()) if each is not None]
    if not ends:
        return
    first, last = min(ends), max(ends)
    step = math.ceil((last - first + 1) / SAMPLED)
    if step > 1:
        recent = recent.filter(pk__in=range(first, last + 1, step))
    streamed = recent.filter(is_stream=True, first_byte_ms__isnull=False)
    for at, first_byte_ms in streamed.values_list("at", "first_byte_ms")[:SAMPLED]:
        if first_byte_ms is not None:
            yield at, first_byte_ms / 1000


def _known(times: Sequence[float] | None, part: int) -> float | None:
    return percentile(times, part) if times else None
