"""The request log: what people say of it, what it comes to, and how long it is kept."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, TypedDict

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from models_app.clock import believed_now
from models_app.models import Tier
from models_app.retention import delete
from servers_app.figures import percentile
from servers_app.request_models import FAILURES, RequestOutcome, RequestRecord

TIMED: Final = 1000  # of the newest requests, whose times are looked at


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


def old_records(now: datetime) -> QuerySet[RequestRecord]:
    """Return those that are older than MAGI_REQUEST_LOG_DAYS, and that nobody has labelled."""
    oldest = now - timedelta(days=settings.MAGI_REQUEST_LOG_DAYS)
    return RequestRecord.objects.filter(at__lt=oldest, label="").order_by("at")


def count_due(now: datetime) -> int:
    """Return how many `prune` would delete."""
    old = old_records(now).count()
    if not settings.MAGI_REQUEST_LOG_ROWS:
        return old
    rows = RequestRecord.objects.count()
    unlabelled = RequestRecord.objects.filter(label="").count()
    return max(old, min(unlabelled, rows - settings.MAGI_REQUEST_LOG_ROWS))


def prune(now: datetime | None = None) -> int:
    """Delete the records that are old, and the oldest beyond MAGI_REQUEST_LOG_ROWS.

    Those that somebody has labelled stay, and count.

    Returns:
        How many there were.
    """
    count = delete(old_records(now or believed_now()))
    if not settings.MAGI_REQUEST_LOG_ROWS:
        return count
    beyond = RequestRecord.objects.count() - settings.MAGI_REQUEST_LOG_ROWS
    oldest = RequestRecord.objects.filter(label="").order_by("at")
    return count + (delete(oldest, most=beyond) if beyond > 0 else 0)


def sums_of(records: QuerySet[RequestRecord], *, limit: int) -> RequestSums:
    """Add up the newest `limit` of `records`, in two queries."""
    newest = records.order_by("-at", "-pk")
    failed = Q(outcome__in=FAILURES)
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
    return (percentile(values, 50), percentile(values, 95)) if values else None
