"""Scan roots: those of the settings made rows, and a look into one without scanning it."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from models_app.errors import ScanRootError
from models_app.huggingface import hub_cache
from models_app.models import ScanRoot
from models_app.scanroots import RootSpec, detect_kind, list_root


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
    paths = settings.MODEL_SCAN_PATH or [path for path in [hub_cache()] if path.is_dir()]
    rows = {row.path: row for row in ScanRoot.objects.filter(node=node)}
    for path in map(str, paths):
        row = rows.get(path)
        # One that a person made stays theirs, and stays when the setting drops it.
        if row is not None and not row.from_settings:
            continue
        kind = _kind_of(Path(path)) or (row.kind if row else ScanRoot().kind)
        if row is None:
            row, _ = ScanRoot.objects.get_or_create(
                node=node, path=path, defaults={"kind": kind, "from_settings": True}
            )
            rows[path] = row
        elif row.kind != kind:
            row.kind = kind
            row.save(update_fields=["kind"])
    gone = [row for row in rows.values() if row.from_settings and Path(row.path) not in paths]
    for row in gone:
        del rows[row.path]
        row.delete()
    return sorted(rows.values(), key=lambda row: row.path)


def _kind_of(path: Path) -> str:
    """Return the folder's layout; empty while it is not there to tell."""
    try:
        return detect_kind(path)
    except ScanRootError:
        return ""
