"""The registry: what a scan finds, made rows. A scan only reads the disk."""

import hashlib
import time
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models import F, Value
from django.utils import timezone

from models_app.copy_models import ModelCopy
from models_app.discovery import Discovery, KnownSkip, OnFile, RootSpec, discover
from models_app.fingerprint import fingerprint
from models_app.homes import leave
from models_app.known_models import known_models
from models_app.locks import node_lock
from models_app.models import DiscoveryRules, Scan, ScanMemory, ScanRoot, ScanState
from models_app.progress import scan_failed, scan_finished, scan_progress, scan_started
from models_app.pruning import models_of, prune_missing
from models_app.registrar import Registrar, give_ports, mark_found
from models_app.roots import sync_roots
from models_app.rules import current_rules, rename
from models_app.scanned import safe_text


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What became of every file that a scan saw."""

    scan_id: int
    timestamp: datetime
    scan_paths: list[str]
    files_seen: int
    seconds: float
    models_found: int
    added: list[str] = field(default_factory=list)  # model ids, as the next four
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)  # path, reason
    root_errors: list[dict[str, str]] = field(default_factory=list)  # path, reason

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"timestamp": self.timestamp.isoformat()}


def rescan(node: str, *, on_file: OnFile | None = None, prune: bool = False) -> ScanReport:
    """Look into every enabled scan root of `node`, and bring the registry up to date.

    A scan that finds another one at work on this node waits for it. One that dies is
    carried on by the next: rows are written in batches, each whole or not at all.

    Args:
        on_file: called with each file and how many were seen so far.
        prune: remove the rows of models that have gone, overrides and all.
    """
    with node_lock("rescan", wait=lambda: True):
        running = Scan.objects.filter(node=node, state=ScanState.RUNNING)
        running.update(state=ScanState.INTERRUPTED)  # we have the lock: its process died
        scan = Scan.objects.create(node=node)
        scan_started(node)
        try:
            report = _scan(scan, scan_progress(node, also=on_file))
            if prune:
                report = replace(report, **prune_missing(node, report.root_errors))
            _record(scan, report)
        except Exception:
            Scan.objects.filter(pk=scan.pk).update(
                state=ScanState.FAILED, finished_at=timezone.now()
            )
            scan_failed(node)  # after the write: a page that looks again sees it
            raise
    scan_finished(
        node,
        files_seen=report.files_seen,
        models_found=report.models_found,
        seconds=report.seconds,
    )
    return report


def _scan(scan: Scan, on_file: OnFile) -> ScanReport:
    started = time.monotonic()
    roots = [root for root in sync_roots(scan.node) if root.is_enabled]
    rules = current_rules()
    looks = fingerprint(
        _specs(roots),
        [*rules.words, *(str(root.pk) for root in roots)],
        on_folder=lambda folder, files: on_file(f"{folder}/*", files),
    )
    memory = ScanMemory.objects.filter(node=scan.node).select_related("scan").first()
    memory = memory or ScanMemory(node=scan.node)
    if memory.fingerprint == looks and (last := _same_again(memory)) is not None:
        ScanRoot.objects.filter(pk__in=[root.pk for root in roots]).update(
            last_scan_at=scan.started_at
        )
        seconds = time.monotonic() - started
        return replace(last, scan_id=scan.pk, timestamp=timezone.now(), seconds=seconds)

    memory.fingerprint = ""  # until all is written: whoever kills us finds no memory of it
    memory.save()
    report, found, seen = _scan_all(scan, roots, rules, memory.known_skips, on_file)
    there = _there(scan.node)
    memory.registered = there.looks()
    # What another scan, or a person, has taken away meanwhile is looked for the next time.
    is_settled = found.is_settled and seen <= there.keys
    memory.fingerprint = looks if is_settled else ""
    memory.known_skips = {path: skip.as_json() for path, skip in found.known_skips.items()}
    memory.scan = scan
    memory.save()
    return replace(report, seconds=time.monotonic() - started)


def _specs(roots: list[ScanRoot]) -> list[RootSpec]:
    return [RootSpec(Path(root.path), root.kind) for root in roots]


def _same_again(memory: ScanMemory) -> ScanReport | None:
    """Return the last report as that of a scan that found the same; None if rows differ."""
    if memory.scan is None or not memory.scan.report:
        return None
    there = _there(memory.node)
    if there.looks() != memory.registered:
        return None
    last = memory.scan.report
    return ScanReport(
        scan_id=0,
        timestamp=memory.scan.started_at,
        scan_paths=last["scan_paths"],
        files_seen=last["files_seen"],
        seconds=0,
        models_found=last["models_found"],
        unchanged=sorted([*there.homes, *there.copies]),
        missing=sorted(there.missing),
        skipped=last["skipped"],
        root_errors=last["root_errors"],
    )


@dataclass(slots=True)
class _There:
    """The models of a node, as the registry has them."""

    keys: set[int] = field(default_factory=set)  # of those that are there
    homes: list[str] = field(default_factory=list)  # ids, as the next two
    copies: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def looks(self) -> str:
        """Return a hash of what is there: another one asks for another scan."""
        lines = [*sorted(self.homes), *(f"copy of {name}" for name in sorted(self.copies))]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=32).hexdigest()


def _there(node: str) -> _There:
    """Read it in one query, as it is all that an unchanged rescan asks for."""
    columns = ("key", "name", "is_missing", "is_copy")
    rows = models_of(node).order_by().annotate(key=F("pk"), name=F("model_id"))
    copies = ModelCopy.objects.filter(node=node).order_by()
    copies_too = copies.annotate(key=F("model"), name=F("model__model_id"))
    there = _There()
    for key, name, is_missing, is_copy in (
        rows.annotate(is_copy=Value(0))
        .values_list(*columns)
        .union(
            copies_too.annotate(is_missing=Value(value=False), is_copy=Value(1)).values_list(
                *columns
            ),
            all=True,
        )
        .iterator()
    ):
        if is_missing:
            there.missing.append(name)
            continue
        there.keys.add(key)
        (there.copies if is_copy else there.homes).append(name)
    return there


def _scan_all(
    scan: Scan,
    roots: list[ScanRoot],
    rules: DiscoveryRules,
    known_skips: dict[str, Any],
    on_file: OnFile,
) -> tuple[ScanReport, Discovery, set[int]]:
    known = known_models(scan.node)
    registrar = Registrar(scan.node, {root.path: root for root in roots}, known, rules)
    skips = {path: KnownSkip.of_json(skip) for path, skip in known_skips.items()}
    found = discover(
        _specs(roots),
        on_file=on_file,
        on_model=registrar.add,
        known=known.signatures(),
        known_skips={path: skip for path, skip in skips.items() if skip is not None},
        thinking_words=rules.words,
    )
    registrar.flush()
    unchanged = [known.here[identity] for identity in found.unchanged]
    seen = registrar.seen | {here.pk for here in unchanged}
    mark_found(unchanged)
    missing = leave(scan.node, seen, is_alone=known.is_alone)
    give_ports(_registering_since(scan))
    if registrar.added or registrar.updated:
        rename()

    errors = {safe_text(path): reason for path, reason in found.root_errors}
    now = timezone.now()
    for root in roots:
        root.last_scan_at, root.last_error = now, errors.get(root.path, "")
    ScanRoot.objects.bulk_update(roots, ["last_scan_at", "last_error"])
    skipped = [*found.skipped, *registrar.refused]
    report = ScanReport(
        scan_id=scan.pk,
        timestamp=now,
        scan_paths=[root.path for root in roots],
        files_seen=found.files_seen,
        seconds=found.seconds,
        models_found=len(seen),
        added=registrar.added,
        updated=registrar.updated,
        unchanged=[here.model_id for here in unchanged],
        missing=missing,
        skipped=[{"path": safe_text(item.path), "reason": item.reason} for item in skipped],
        root_errors=[{"path": path, "reason": reason} for path, reason in errors.items()],
    )
    return report, found, seen


def _registering_since(scan: Scan) -> datetime:
    """Return when the first scan began since the last one that came to its end."""
    earlier = Scan.objects.filter(node=scan.node, pk__lt=scan.pk)
    last = earlier.filter(state=ScanState.FINISHED).order_by("-pk").first()
    unfinished = earlier.filter(pk__gt=last.pk) if last else earlier
    first = unfinished.order_by("pk").first()
    return (first or scan).started_at


def _record(scan: Scan, report: ScanReport) -> None:
    scan.state = ScanState.FINISHED
    scan.finished_at = report.timestamp
    scan.seconds, scan.files_seen = report.seconds, report.files_seen
    scan.added, scan.updated = len(report.added), len(report.updated)
    scan.unchanged, scan.missing = len(report.unchanged), len(report.missing)
    scan.skipped = len(report.skipped)
    scan.report = report.as_json()
    scan.save()
