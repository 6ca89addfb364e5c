"""The request log: what people say of it, what it comes to, and how long it is kept."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, TypedDict, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDay
from django.utils import timezone

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from models_app.models import Tier
from servers_app.request_models import RequestOutcome, RequestRecord, UsageMinute

CHUNK: Final = 1000  # rows that one transaction deletes: others write meanwhile
SUMMED_DAYS: Final = 14
SUMMED: Final = (
    "requests", "failures", "prompt_tokens", "cached_tokens", "completion_tokens",
)  # fmt: skip
TIMED: Final = 1000  # of the newest requests, whose times are looked at


class DayOfUsage(TypedDict):
    day: datetime
    requests: int
    failures: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


Quantiles = tuple[float, float]  # half of them, and 95 of 100, took no longer


class RequestSums(TypedDict):
    """What some requests of the log come to; the times are those of the newest TIMED."""

    requests: int
    failures: int
    refused: int
    prompt_tokens: int
    completion_tokens: int
    first_byte_ms: Quantiles | None
    total_ms: Quantiles | None


@transaction.atomic
def relabel(records: QuerySet[RequestRecord], label: Tier | None) -> int:
    """Say which tier should have answered; None takes that back.

    Returns:
        How many records there were.
    """
    others = records.exclude(label=label or "").only("request_id", "label")
    after = {"label": label or ""}
    changes = [Change(record, {"label": record.label}, after) for record in others]
    audit.record_each(Action.LABEL, changes)
    return records.update(label=label or "")


def labelled_examples() -> Iterator[tuple[str, Tier]]:
    """Yield the prompts that somebody has labelled and their tiers, the newest first."""
    labelled = RequestRecord.objects.exclude(label="").exclude(prompt="")
    for prompt, label in labelled.values_list("prompt", "label").iterator():
        yield prompt, Tier(label)


def prune() -> int:
    """Delete the records that are older than MAGI_REQUEST_LOG_DAYS.

    Those that somebody has labelled stay.

    Returns:
        How many there were.
    """
    oldest = timezone.now() - timedelta(days=settings.MAGI_REQUEST_LOG_DAYS)
    old = RequestRecord.objects.filter(at__lt=oldest, label="").order_by("at")
    count = 0
    while chunk := list(old.values_list("pk", flat=True)[:CHUNK]):
        RequestRecord.objects.filter(pk__in=chunk, label="").delete()
        count += len(chunk)
    return count


def usage_by_day(minutes: QuerySet[UsageMinute]) -> list[DayOfUsage]:
    """Add `minutes` of the last SUMMED_DAYS up by day of MAGI_TIME_ZONE, the newest first."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    days = (
        minutes.filter(minute__gte=today - timedelta(days=SUMMED_DAYS - 1))
        .order_by()
        .annotate(day=TruncDay("minute"))
        .values("day")
        .annotate(**{name: Sum(name) for name in SUMMED})
        .order_by("-day")
    )
    return cast("list[DayOfUsage]", list(days))


def sums_of(records: QuerySet[RequestRecord], *, limit: int) -> RequestSums:
    """Add up the newest `limit` of `records`, in two queries."""
    newest = records.order_by("-at", "-pk")
    failed = Q(outcome__in=[RequestOutcome.FAILED, RequestOutcome.BROKEN])
    sums = newest.values("pk", "outcome", "prompt_tokens", "completion_tokens")[
        :limit
    ].aggregate(
        requests=Count("pk"),
        failures=Count("pk", filter=failed),
        refused=Count("pk", filter=Q(outcome=RequestOutcome.REFUSED)),
        prompt=Sum("prompt_tokens", default=0),
        completion=Sum("completion_tokens", default=0),
    )
    times = list(newest.values_list("first_byte_ms", "total_ms")[:TIMED])
    return {
        "requests": sums["requests"],
        "failures": sums["failures"],
        "refused": sums["refused"],
        "prompt_tokens": sums["prompt"],
        "completion_tokens": sums["completion"],
        "first_byte_ms": _quantiles([first for first, _ in times if first is not None]),
        "total_ms": _quantiles([total for _, total in times]),
    }


def _quantiles(values: list[float]) -> Quantiles | None:
    if not values:
        return None
    ranked = sorted(values)
    last = len(ranked) - 1
    return ranked[round(last * 0.5)], ranked[round(last * 0.95)]
