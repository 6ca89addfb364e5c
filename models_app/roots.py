"""Scan roots: those of the settings made rows, and a look into one without scanning it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from models_app import audit
from models_app.acting import acting
from models_app.audit_forms import delete_rows
from models_app.audit_models import Action, Via
from models_app.errors import ScanRootError
from models_app.huggingface import hub_cache
from models_app.models import ScanRoot
from models_app.scanroots import RootSpec, detect_kind, list_root

_NO_ROOTS = tuple(map(Path, ("/proc", "/sys", "/dev", "/etc", "/boot")))


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look into a folder found; its text is a sentence for a person."""

    is_readable: bool
    text: str

    def __str__(self) -> str:
        return self.text


def look_into(root: ScanRoot) -> Finding:
    """Walk a root as a scan would, without opening a file.

    It says what this machine sees: a root of another node is that node's to test.
    """
    try:
        listing = list_root(RootSpec(Path(root.path), root.kind))
    except ScanRootError as error:
        return Finding(is_readable=False, text=f"{error.reason}.")
    text = f"{len(listing.models)} model files, {len(listing.skipped)} others."
    if listing.errors:
        folder, reason = listing.errors[0]
        text += f" {len(listing.errors)} folders cannot be read, such as {folder}: {reason}."
    return Finding(is_readable=True, text=text)


def sync_roots(node: str) -> list[ScanRoot]:
    """Make rows of MODEL_SCAN_PATH, or of the Hugging Face cache when it is not set.

    Returns:
        all scan roots of the node, those that are not enabled too.
    """
    with acting("settings", Via.SYSTEM):
        return _sync_roots(node)


def _sync_roots(node: str) -> list[ScanRoot]:
    paths = settings.MODEL_SCAN_PATH or [path for path in [hub_cache()] if path.is_dir()]
    rows = {row.path: row for row in ScanRoot.objects.filter(node=node)}
    for path in map(str, paths):
        row = rows.get(path)
        # One that a person made stays theirs, and stays when the setting drops it.
        if row is not None and not row.from_settings:
            continue
        kind = _kind_of(Path(path)) or (row.kind if row else ScanRoot().kind)
        if row is None:
            rows[path] = add_root(node, path, kind=kind, from_settings=True)
        elif row.kind != kind:
            audit.record_change(Action.UPDATE, row, {"kind": row.kind}, {"kind": kind})
            row.kind = kind
            row.save(update_fields=["kind"])
    gone = [row for row in rows.values() if row.from_settings and Path(row.path) not in paths]
    for row in gone:
        del rows[row.path]
        delete_rows(ScanRoot.objects.filter(pk=row.pk))
    return sorted(rows.values(), key=lambda row: row.path)


def lies_in_scan_root(path: str | Path) -> bool:
    """Whether a file of this machine lies in one of its scan roots, every link followed.

    The links of a Hugging Face cache stay in it: they lead from its snapshots to its blobs.
    """
    roots = ScanRoot.objects.filter(node=settings.MAGI_NODE).values_list("path", flat=True)
    real = _real(path)
    return any(is_in(real, _real(root)) for root in roots)


def is_in(path: Path, folder: Path) -> bool:
    """Whether `path`, with no link and no .. in it, lies below `folder`."""
    return path != folder and path.is_relative_to(folder)


def why_no_root(path: str) -> str:
    """Return why a folder cannot be a scan root; empty if it can.

    What lies in a scan root may be given to a llama-server, so that the whole disk is none.
    """
    if not Path(path).is_absolute():
        return "Give an absolute path."
    real = _real(path)
    if real == Path("/") or any(real.is_relative_to(folder) for folder in _NO_ROOTS):
        return "Give a folder of models: not the whole disk, and nothing of the system's own."
    return ""


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises where links go in a circle


@transaction.atomic
def add_root(node: str, path: str, **fields: Any) -> ScanRoot:
    """Return the scan root of that folder, made with `fields` if there is none."""
    row, is_new = ScanRoot.objects.get_or_create(node=node, path=path, defaults=fields)
    if is_new:
        audit.record(Action.CREATE, row, after={"node": node, "path": path, **fields})
    return row


def _kind_of(path: Path) -> str:
    """Return the folder's layout; empty while it is not there to tell."""
    try:
        return detect_kind(path)
    except ScanRootError:
        return ""
