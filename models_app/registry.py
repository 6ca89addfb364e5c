"""The registry: what a scan finds, made rows. A scan only reads the disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.utils import timezone

from models_app.discovery import (
    Discovery,
    FoundModel,
    KnownFile,
    RootSpec,
    Skipped,
    detect_kind,
    discover,
)
from models_app.errors import ScanRootError
from models_app.huggingface import hub_cache
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, ScanRoot
from models_app.naming import make_model_id, next_free_id
from models_app.rows import printable, row_fields, why_not_storable

T = TypeVar("T")

MAX_ID_CHARS = 180  # the column holds 200; _2, _3… need some

BATCH = 200  # rows a statement: a transaction well under a second, so that no writer waits long


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What became of every file that a scan saw."""

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


def rescan(node: str, *, on_file: Callable[[Path, int], None] | None = None) -> ScanReport:
    """Look into every enabled scan root of `node`, and bring the registry up to date.

    A scan that finds another one at work on this node waits for it.

    Args:
        on_file: called with each file and how many were seen so far.
    """
    with node_lock("rescan", wait=lambda: True):
        sync_roots(node)
        roots = list(ScanRoot.objects.filter(node=node, is_enabled=True))
        rows = {row.identity: row for row in DiscoveredModel.objects.select_related("root")}
        found = discover(
            [RootSpec(Path(root.path), root.kind) for root in roots],
            on_file=on_file,
            known={
                identity: KnownFile(**row.file_signature)
                for identity, row in rows.items()
                if row.file_signature
            },
        )
        return _write(node, roots, rows, found)


def sync_roots(node: str) -> None:
    """Make rows of MODEL_SCAN_PATH, or of the Hugging Face cache when it is not set."""
    paths = settings.MODEL_SCAN_PATH or [path for path in [hub_cache()] if path.is_dir()]
    for path in paths:
        ScanRoot.objects.update_or_create(
            node=node, path=str(path), defaults={"from_settings": True, **_kind_of(path)}
        )
    ScanRoot.objects.filter(node=node, from_settings=True).exclude(
        path__in=[str(path) for path in paths]
    ).delete()


def _kind_of(path: Path) -> dict[str, str]:
    """Return the folder's layout; nothing while it is not there to tell."""
    try:
        return {"kind": detect_kind(path)}
    except ScanRootError:
        return {}


def _write(
    node: str, roots: list[ScanRoot], rows: dict[str, DiscoveredModel], found: Discovery
) -> ScanReport:
    by_path = {root.path: root for root in roots}
    reasons = {model.identity: why_not_storable(model) for model in found.models}
    found.skipped += [
        Skipped(model.file_path, reason)
        for model in found.models
        if (reason := reasons[model.identity])
    ]
    storable = [model for model in found.models if not reasons[model.identity]]
    new = [model for model in storable if model.identity not in rows]
    changed = [model for model in storable if model.identity in rows]
    added = _add(sorted(new, key=lambda model: model.filename), by_path)
    updated = _update(changed, rows, by_path)
    seen = {model.identity for model in storable} | set(found.unchanged)
    unchanged = [rows[identity] for identity in found.unchanged]
    missing = [
        row
        for identity, row in rows.items()
        if identity not in seen and (row.root is None or row.root.node == node)
    ]
    _mark(unchanged, is_missing=False)
    _mark(missing, is_missing=True)

    now = timezone.now()
    errors = {printable(path): reason for path, reason in found.root_errors}
    for root in roots:
        root.last_scan_at, root.last_error = now, errors.get(root.path, "")
    ScanRoot.objects.bulk_update(roots, ["last_scan_at", "last_error"])
    return ScanReport(
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
            {"path": printable(item.path), "reason": item.reason} for item in found.skipped
        ],
        root_errors=[{"path": path, "reason": reason} for path, reason in errors.items()],
    )


def _add(found: list[FoundModel], roots: dict[str, ScanRoot]) -> list[DiscoveredModel]:
    """Register new models, each with its id for good and the next port of the range."""
    taken = set(DiscoveredModel.objects.values_list("model_id", flat=True))
    ports = _unused_ports()
    added = []
    for model in found:
        fields = row_fields(model, roots[str(model.root_path)])
        base = make_model_id(model, fields["assigned_tier"])[:MAX_ID_CHARS]
        model_id = next_free_id(base, taken)
        taken.add(model_id)
        added.append(DiscoveredModel(model_id=model_id, port=next(ports, None), **fields))
    for batch in _batches(added):
        DiscoveredModel.objects.bulk_create(batch)
    return added


def _update(
    found: list[FoundModel], rows: dict[str, DiscoveredModel], roots: dict[str, ScanRoot]
) -> list[DiscoveredModel]:
    updated = []
    names: set[str] = set()
    for model in found:
        row = rows[model.identity]
        fields = row_fields(model, roots[str(model.root_path)])
        for name, value in fields.items():
            setattr(row, name, value)
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
