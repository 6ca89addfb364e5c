"""What the server room lets go of: requests, minutes of usage, events, and what was measured.

Usage and events leave sums by day behind, which are kept for good.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Max, OuterRef, Q, QuerySet, Subquery

from models_app.old_rows import kept_text
from models_app.retention import Bound, delete, fold
from servers_app import requests
from servers_app.benchmark_models import (
    BENCHMARK_UNDER_WAY,
    Benchmark,
    BenchmarkState,
)
from servers_app.comparison_models import Comparison
from servers_app.models import (
    MemoryMeasurement,
    Server,
    ServerEvent,
    ServerEventDay,
    ServerState,
)
from servers_app.request_models import UsageDay, UsageMinute
from servers_app.usage import FIELDS

KEPT_EVENTS: Final = 200  # of each server, however old: more than any page shows of it
MOST_EVENTS: Final = 10_000  # of each server, however young


def bounds() -> tuple[Bound, ...]:
    return (
        Bound("requests", _requests_kept, requests.count_due, requests.prune),
        Bound(
            "minutes of usage",
            lambda: f"{kept_text(settings.MAGI_USAGE_MINUTE_DAYS)}; sums by day for good",
            lambda now: _old_minutes(now).count(),
            roll_up_usage,
        ),
        Bound(
            "server events",
            lambda: (
                f"{kept_text(settings.MAGI_EVENT_DAYS)}, at least {KEPT_EVENTS} and at most "
                f"{MOST_EVENTS:,} of each server; sums by day for good"
            ),
            lambda now: sum(rows.count() for rows in _old_events(now)),
            roll_up_events,
        ),
        Bound(
            "benchmarks",
            lambda: f"{kept_text(settings.MAGI_HISTORY_DAYS)}, and the last of each model",
            lambda now: _old_benchmarks(now).count(),
            lambda now: delete(_old_benchmarks(now)),
        ),
        Bound(
            "comparisons",
            lambda: f"{kept_text(settings.MAGI_HISTORY_DAYS)}, and those that have votes",
            lambda now: _old_comparisons(now).count(),
            lambda now: delete(_old_comparisons(now)),
        ),
        Bound(
            "memory measurements",
            lambda: f"{kept_text(settings.MAGI_HISTORY_DAYS)} since they were last seen",
            lambda now: _old_measurements(now).count(),
            lambda now: delete(_old_measurements(now)),
        ),
    )


def roll_up_usage(now: datetime) -> int:
    """Add the minutes of days that are old to the sums of these days; return how many.

    Days are whole, and of UTC: of one day, there are minutes or a sum, unless somebody comes
    with a minute that is long past.
    """
    return fold(_old_minutes(now), UsageDay, ("day", "model_id", "key", "tier"), _of_minute)


def roll_up_events(now: datetime) -> int:
    """Add events that are old, or too many, to the sums of their days; return how many.

    The newest of each server stay, and the one that says how long it last took to load: the
    gateway reckons waiting times with it.
    """
    name = ("day", "model_id", "node", "to_state")
    return sum(
        fold(rows.select_related("server__model"), ServerEventDay, name, _of_event)
        for rows in _old_events(now)
    )


def _requests_kept() -> str:
    days, rows = settings.MAGI_REQUEST_LOG_DAYS, settings.MAGI_REQUEST_LOG_ROWS
    kept = kept_text(days) if days else "none"
    return f"{kept}, at most {rows:,}; labelled ones stay" if rows else kept


def _old_minutes(now: datetime) -> QuerySet[UsageMinute]:
    day = (now - timedelta(days=settings.MAGI_USAGE_MINUTE_DAYS)).astimezone(UTC).date()
    midnight = datetime.combine(day, time.min, UTC)
    return UsageMinute.objects.filter(minute__lt=midnight).order_by("minute", "pk")


def _of_minute(row: UsageMinute) -> tuple[tuple[Any, ...], Mapping[str, float]]:
    day = row.minute.astimezone(UTC).date()
    sums = {field: getattr(row, field) for field in FIELDS}
    return (day, row.model_id, row.key, row.tier), sums


def _old_events(now: datetime) -> Iterator[QuerySet[ServerEvent]]:
    """Yield those of each server that has any, the oldest first."""
    days = settings.MAGI_EVENT_DAYS
    is_old = Q(at__lt=now - timedelta(days=days)) if days else Q(pk__in=())
    old = ServerEvent.objects.filter(is_old).order_by()
    newest = ServerEvent.objects.filter(server=OuterRef("pk")).order_by("-pk")
    loads = newest.filter(from_state=ServerState.STARTING, to_state=ServerState.READY)
    servers = (
        Server.objects.order_by("pk")
        .annotate(
            first_kept=Subquery(newest.values("pk")[KEPT_EVENTS - 1 : KEPT_EVENTS]),
            oldest_of_most=Subquery(newest.values("pk")[MOST_EVENTS - 1 : MOST_EVENTS]),
            last_load=Subquery(loads.values("pk")[:1]),
        )
        .filter(Q(pk__in=old.values("server")) | Q(oldest_of_most__isnull=False))
        .values_list("pk", "first_kept", "oldest_of_most", "last_load")
    )
    for server, first_kept, oldest_of_most, last_load in servers:
        due = is_old & Q(pk__lt=first_kept or 0) | Q(pk__lt=oldest_of_most or 0)
        rows = ServerEvent.objects.filter(due, server=server).exclude(pk=last_load or 0)
        yield rows.order_by("pk")


def _of_event(event: ServerEvent) -> tuple[tuple[Any, ...], Mapping[str, float]]:
    day, server = event.at.astimezone(UTC).date(), event.server
    return (day, server.model.model_id, server.node, event.to_state), {
        "events": 1,
        "seconds": event.seconds or 0.0,
    }


def _old_benchmarks(now: datetime) -> QuerySet[Benchmark]:
    """Return those that are no model's last: with that, recommendations go on."""
    if settings.MAGI_HISTORY_DAYS == 0:
        return Benchmark.objects.none()
    finished = Benchmark.objects.filter(state=BenchmarkState.FINISHED).order_by()
    last = finished.values("model_id", "node", "kind").annotate(last=Max("pk"))
    oldest = now - timedelta(days=settings.MAGI_HISTORY_DAYS)
    return (
        Benchmark.objects.filter(asked_at__lt=oldest)
        .exclude(Q(state__in=BENCHMARK_UNDER_WAY) | Q(pk__in=last.values("last")))
        .order_by("pk")
    )


def _old_comparisons(now: datetime) -> QuerySet[Comparison]:
    """Return those that nobody voted on: with votes, models are ranked."""
    if settings.MAGI_HISTORY_DAYS == 0:
        return Comparison.objects.none()
    oldest = now - timedelta(days=settings.MAGI_HISTORY_DAYS)
    voted = Comparison.objects.filter(prompts__votes__isnull=False).order_by().values("pk")
    return (
        Comparison.objects.filter(asked_at__lt=oldest)
        .exclude(Q(state__in=BENCHMARK_UNDER_WAY) | Q(pk__in=voted))
        .order_by("pk")
    )


def _old_measurements(now: datetime) -> QuerySet[MemoryMeasurement]:
    """Return those of builds and settings that have not run for long."""
    if settings.MAGI_HISTORY_DAYS == 0:
        return MemoryMeasurement.objects.none()
    oldest = now - timedelta(days=settings.MAGI_HISTORY_DAYS)
    return MemoryMeasurement.objects.filter(measured_at__lt=oldest).order_by("pk")
