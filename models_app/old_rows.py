"""What the registry lets go of: audit entries, scan reports, and downloads that ended."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Max, Q, QuerySet, Subquery

from models_app import audit
from models_app.copy_models import ScanDay
from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.models import Scan, ScanMemory, ScanState
from models_app.retention import Bound, delete, fold

FAILED: Final = (ScanState.FAILED, ScanState.INTERRUPTED)
MOST_SCANS: Final = 5000  # of each node, however young


def kept_text(days: int) -> str:
    return f"{days:,} day{'' if days == 1 else 's'}" if days else "for good"


def bounds() -> tuple[Bound, ...]:
    return (
        Bound(
            "audit entries",
            lambda: kept_text(settings.MAGI_AUDIT_DAYS),
            lambda now: audit.old_entries(now).count(),
            audit.prune,
        ),
        Bound(
            "scan reports",
            lambda: (
                f"{kept_text(settings.MAGI_SCAN_DAYS)}, at least the last and at most "
                f"{MOST_SCANS:,} of each node; sums by day for good"
            ),
            lambda now: _old_scans(now).count(),
            prune_scans,
        ),
        Bound(
            "downloads that ended",
            lambda: f"{kept_text(settings.MAGI_HISTORY_DAYS)}, and those that brought a model",
            lambda now: _old_downloads(now).count(),
            lambda now: delete(_old_downloads(now)),
        ),
    )


def prune_scans(now: datetime) -> int:
    """Add scans that are old, or too many, to the sums of their days; delete their reports.

    The newest of each node stays, the newest that finished, and the one whose report the next
    scan gives again when it finds nothing new.
    """
    return fold(_old_scans(now).defer("report"), ScanDay, ("day", "node"), _sums_of_scan)


def _old_scans(now: datetime) -> QuerySet[Scan]:
    kept = set(ScanMemory.objects.filter(scan__isnull=False).values_list("scan", flat=True))
    days = settings.MAGI_SCAN_DAYS
    due = Q(started_at__lt=now - timedelta(days=days)) if days else Q(pk__in=())
    newest = Scan.objects.order_by().values_list("node").annotate(
        Count("pk"), Max("pk"), finished=Max("pk", filter=Q(state=ScanState.FINISHED))
    )  # fmt: skip
    for node, count, *pks in newest:
        kept.update(pk for pk in pks if pk is not None)
        if count > MOST_SCANS:
            newest_first = Scan.objects.filter(node=node).order_by("-pk").values("pk")
            due |= Q(node=node, pk__lt=Subquery(newest_first[MOST_SCANS - 1 : MOST_SCANS]))
    rows = Scan.objects.filter(due)
    return rows.exclude(Q(pk__in=kept) | Q(state=ScanState.RUNNING)).order_by("pk")


def _sums_of_scan(scan: Scan) -> tuple[tuple[Any, ...], Mapping[str, float]]:
    return (scan.started_at.astimezone(UTC).date(), scan.node), {
        "scans": 1,
        "failed": scan.state in FAILED,
        "files_seen": scan.files_seen,
        "added": scan.added,
        "updated": scan.updated,
        "missing": scan.missing,
        "seconds": scan.seconds or 0.0,
    }


def _old_downloads(now: datetime) -> QuerySet[Download]:
    """Return those that nobody asks for any more: where a model is from is kept with it."""
    if settings.MAGI_HISTORY_DAYS == 0:
        return Download.objects.none()
    oldest = now - timedelta(days=settings.MAGI_HISTORY_DAYS)
    brought = Q(state=DownloadState.FINISHED, model__isnull=False)
    return (
        Download.objects.filter(asked_at__lt=oldest)
        .exclude(Q(state__in=UNDER_WAY) | brought)
        .order_by("pk")
    )
