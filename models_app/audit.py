"""Write down what people change: who, by which door, of what, before and after.

A service calls `record` in the transaction of its change, so there is no change without
its entry, and no entry of a change that came to nothing. What MAGI does by itself on a
standing order (a restart after a crash, an eviction) is in the events of its server instead.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.models import Model, QuerySet

from models_app.acting import actor
from models_app.audit_models import Action, AuditEntry
from models_app.audit_targets import Target, target_of
from models_app.audit_values import differences, kept, plain
from models_app.clock import believed_now
from models_app.retention import delete

CHUNK: Final = 1000  # rows that one statement writes
MAX_NAME_CHARS: Final = 255

Values = Mapping[str, Any]


class Change(NamedTuple):
    target: Model | Target
    before: Values | None = None
    after: Values | None = None


def record(
    action: Action,
    target: Model | Target,
    *,
    before: Values | None = None,
    after: Values | None = None,
    who: str = "",
) -> None:
    """Write one entry, by one INSERT.

    Args:
        before, after: the fields; only what differs is kept. None where there was, or is,
            nothing.
        who: where no request says who it is.
    """
    _entry(action, Change(target, before, after), who).save(force_insert=True)


def record_change(
    action: Action, target: Model | Target, before: Values, after: Values, *, who: str = ""
) -> None:
    """Write an entry if anything differs."""
    if before != after:
        record(action, target, before=before, after=after, who=who)


def record_each(action: Action, changes: Iterable[Change], *, who: str = "") -> None:
    """Write an entry for each of many changes that were made at once."""
    entries = [_entry(action, change, who) for change in changes]
    AuditEntry.objects.bulk_create(entries, batch_size=CHUNK)


def old_entries(now: datetime) -> QuerySet[AuditEntry]:
    """Return those that are older than MAGI_AUDIT_DAYS; none where that is 0."""
    if settings.MAGI_AUDIT_DAYS == 0:
        return AuditEntry.objects.none()
    oldest = now - timedelta(days=settings.MAGI_AUDIT_DAYS)
    return AuditEntry.objects.filter(at__lt=oldest).order_by("at")


def prune(now: datetime | None = None) -> int:
    """Delete the entries that are old, by now, and return how many there were."""
    return delete(old_entries(now or believed_now()))


def _entry(action: Action, change: Change, who: str) -> AuditEntry:
    target, before, after = change
    if isinstance(target, Model):
        target = target_of(target)
    if before is not None and after is not None:
        before, after = differences(before, after)
    by = actor(who)
    return AuditEntry(
        who=plain(by.who)[:150],
        via=by.via,
        action=action,
        target_kind=target.kind,
        target_id=plain(target.id)[:MAX_NAME_CHARS],
        target_name=plain(target.name)[:MAX_NAME_CHARS],
        before=None if before is None else kept(before),
        after=None if after is None else kept(after),
        request_id=by.request_id,
    )
