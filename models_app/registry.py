"""The registry: what a scan finds, made rows. A scan only reads the disk."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.utils import timezone

from models_app.discovery import (
    Discovery,
    FoundModel,
    OnFile,
    RootSpec,
    Skipped,
    detect_kind,
    discover,
)
from models_app.errors import ScanRootError
from models_app.huggingface import hub_cache
from models_app.known import KnownFile, KnownSkip
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, DiscoveryRules, Scan, ScanRoot, ScanState
from models_app.naming import make_model_id, next_free_id
from models_app.progress import scan_failed, scan_finished, scan_progress, scan_started
from models_app.rows import row_fields, why_not_storable
from models_app.rules import current_rules, tier_of
from models_app.scanned import safe_text

T = TypeVar("T")
K = TypeVar("K", KnownFile, KnownSkip)

MAX_ID_CHARS = 180  # the column holds 200; _2, _3… need some
BATCH = 200  # rows a statement: a transaction well under a second, so that no writer waits long


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What became of every file that a scan saw."""

    scan_id: int
    timestamp: datetime
    scan_paths: list[str]
    files_seen: int
    seconds: float
    models_found: int
    added: list[str] = field(default_factory=list)  # model ids, as the next three
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)  # path, reason
    root_errors: list[dict[str, str]] = field(default_factory=list)  # path, reason

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"timestamp": self.timestamp.isoformat()}


def rescan(node: str, *, on_file: OnFile | None = None) -> ScanReport:
    """Look into every enabled scan root of `node`, and bring the registry up to date.

    A scan that finds another one at work on this node waits for it. One that dies is
    carried on by the next: rows are written in batches, each whole or not at all.

    Args:
        on_file: called with each file and how many were seen so far.
    """
    with node_lock("rescan", wait=lambda: True):
        running = Scan.objects.filter(node=node, state=ScanState.RUNNING)
        running.update(state=ScanState.INTERRUPTED)  # we have the lock: its process died
        scan = Scan.objects.create(node=node)
        scan_started(node)
        try:
            report = _scan(scan, scan_progress(node, also=on_file))
        except Exception:
            Scan.objects.filter(pk=scan.pk).update(
                state=ScanState.FAILED, finished_at=timezone.now()
            )
            scan_failed(node)  # after the write: a page that looks again sees it
            raise
        _record(scan, report)
    scan_finished(
        node,
        files_seen=report.files_seen,
        models_found=report.models_found,
        seconds=report.seconds,
    )
    return report


def sync_roots(node: str) -> None:
    """Make rows of MODEL_SCAN_PATH, or of the Hugging Face cache when it is not set."""
    paths = settings.MODEL_SCAN_PATH or [path for path in [hub_cache()] if path.is_dir()]
    for path in paths:
        kind = _kind_of(path)
        root, is_new = ScanRoot.objects.get_or_create(
            node=node, path=str(path), defaults={"from_settings": True, **kind}
        )
        # One that a person made stays theirs, and stays when the setting drops it.
        if not is_new and root.from_settings:
            ScanRoot.objects.filter(pk=root.pk).update(from_settings=True, **kind)
    ScanRoot.objects.filter(node=node, from_settings=True).exclude(
        path__in=[str(path) for path in paths]
    ).delete()


def _kind_of(path: Path) -> dict[str, str]:
    """Return the folder's layout; nothing while it is not there to tell."""
    try:
        return {"kind": detect_kind(path)}
    except ScanRootError:
        return {}


def _scan(scan: Scan, on_file: OnFile | None) -> ScanReport:
    sync_roots(scan.node)
    roots = list(ScanRoot.objects.filter(node=scan.node, is_enabled=True))
    # Without the metadata: a scan compares thousands of rows, and changes few.
    columns = ("identity", "model_id", "is_missing", "root_id", "file_signature")
    known_rows = DiscoveredModel.objects.only(*columns, "thinking_override")
    rows = {row.identity: row for row in known_rows}
    rules = current_rules()
    found = discover(
        [RootSpec(Path(root.path), root.kind) for root in roots],
        on_file=on_file,
        known=_remembered(KnownFile, {key: row.file_signature for key, row in rows.items()}),
        known_skips=_remembered(KnownSkip, _last_skips(scan)),
        thinking_words=rules.words,
    )
    scan.known_skips = {path: asdict(skip) for path, skip in found.known_skips.items()}
    return _write(scan, roots, rows, found, rules)


def _last_skips(scan: Scan) -> dict[str, Any]:
    """Return what the last finished scan of this node remembered of files that are none."""
    finished = Scan.objects.filter(node=scan.node, state=ScanState.FINISHED)
    return finished.values_list("known_skips", flat=True).first() or {}


def _remembered(kind: type[K], values: dict[str, Any]) -> dict[str, K]:
    """Return the records that this version understands; the other files are read again."""
    records = {key: kind.of_json(value) for key, value in values.items()}
    return {key: record for key, record in records.items() if record is not None}


def _write(
    scan: Scan,
    roots: list[ScanRoot],
    rows: dict[str, DiscoveredModel],
    found: Discovery,
    rules: DiscoveryRules,
) -> ScanReport:
    by_path = {root.path: root for root in roots}
    storable = []
    for model in found.models:
        if reason := why_not_storable(model):
            found.skipped.append(Skipped(model.file_path, reason))
        else:
            storable.append(model)
    new = [model for model in storable if model.identity not in rows]
    changed = [model for model in storable if model.identity in rows]
    added = _add(sorted(new, key=lambda model: model.filename), by_path, rules)
    updated = _update(changed, rows, by_path, rules)
    seen = {model.identity for model in storable} | set(found.unchanged)
    unchanged = [rows[identity] for identity in found.unchanged]
    elsewhere = set(ScanRoot.objects.exclude(node=scan.node).values_list("pk", flat=True))
    missing = [
        row
        for identity, row in rows.items()
        if identity not in seen and row.root_id not in elsewhere
    ]
    _mark(unchanged, is_missing=False)
    _mark(missing, is_missing=True)

    now = timezone.now()
    errors = {safe_text(path): reason for path, reason in found.root_errors}
    for root in roots:
        root.last_scan_at, root.last_error = now, errors.get(root.path, "")
    ScanRoot.objects.bulk_update(roots, ["last_scan_at", "last_error"])
    return ScanReport(
        scan_id=scan.pk,
        timestamp=now,
        scan_paths=[root.path for root in roots],
        files_seen=found.files_seen,
        seconds=found.seconds,
        models_found=len(seen),
        added=[row.model_id for row in added],
        updated=[row.model_id for row in updated],
        unchanged=[row.model_id for row in unchanged],
        missing=[row.model_id for row in missing],
        skipped=[
            {"path": safe_text(item.path), "reason": item.reason} for item in found.skipped
        ],
        root_errors=[{"path": path, "reason": reason} for path, reason in errors.items()],
    )


def _record(scan: Scan, report: ScanReport) -> None:
    scan.state = ScanState.FINISHED
    scan.finished_at = report.timestamp
    scan.seconds, scan.files_seen = report.seconds, report.files_seen
    scan.added, scan.updated = len(report.added), len(report.updated)
    scan.unchanged, scan.missing = len(report.unchanged), len(report.missing)
    scan.skipped = len(report.skipped)
    scan.report = report.as_json()
    scan.save()
    earlier = Scan.objects.filter(node=scan.node).exclude(pk=scan.pk)
    earlier.exclude(known_skips={}).update(known_skips={})  # one memory is enough


def _add(
    found: list[FoundModel], roots: dict[str, ScanRoot], rules: DiscoveryRules
) -> list[DiscoveredModel]:
    """Register new models, each with its id for good and the next port of the range."""
    taken = set(DiscoveredModel.objects.values_list("model_id", flat=True))
    ports = _unused_ports()
    added = []
    for model in found:
        row = DiscoveredModel(**row_fields(model, roots[str(model.root_path)]))
        row.assigned_tier = tier_of(row, rules)
        base = make_model_id(model, row.assigned_tier)[:MAX_ID_CHARS]
        row.model_id = next_free_id(base, taken)
        row.port = next(ports, None)
        taken.add(row.model_id)
        added.append(row)
    for batch in _batches(added):
        DiscoveredModel.objects.bulk_create(batch)
    return added


def _update(
    found: list[FoundModel],
    rows: dict[str, DiscoveredModel],
    roots: dict[str, ScanRoot],
    rules: DiscoveryRules,
) -> list[DiscoveredModel]:
    updated = []
    names = {"assigned_tier"}
    for model in found:
        row = rows[model.identity]
        fields = row_fields(model, roots[str(model.root_path)])
        for name, value in fields.items():
            setattr(row, name, value)
        row.assigned_tier = tier_of(row, rules)
        names.update(fields)
        updated.append(row)
    for batch in _batches(updated):
        DiscoveredModel.objects.bulk_update(batch, sorted(names))
    return updated


def _mark(rows: list[DiscoveredModel], *, is_missing: bool) -> None:
    ids = [row.pk for row in rows if row.is_missing is not is_missing]
    for batch in _batches(ids):
        DiscoveredModel.objects.filter(pk__in=batch).update(is_missing=is_missing)


def _unused_ports() -> Iterator[int]:
    used = set(DiscoveredModel.objects.exclude(port=None).values_list("port", flat=True))
    ports = range(settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END + 1)
    return (port for port in ports if port not in used)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
