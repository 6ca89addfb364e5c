"""Make what was fetched a model of the registry. Nothing is enabled by it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models_app import registry
from models_app.copies import as_on, home_of, model_at, nodes_of, note_copy
from models_app.discovery import DIRECTORY, FoundModel, RootSpec, discover
from models_app.downloads.files import SHA256, Plan
from models_app.errors import UnsupportedDownloadError
from models_app.integrity import note_mended
from models_app.models import DiscoveredModel, ScanRoot
from models_app.registry import ScanReport
from models_app.roots import add_root, is_in, sync_roots
from models_app.scanned import safe_text


@dataclass(frozen=True, slots=True)
class Registered:
    model: DiscoveredModel
    new_root: str  # the folder, where it was no scan root until now


def register(node: str, plan: Plan, paths: Sequence[Path]) -> Registered:
    """Rescan the node, and return what the fetched files have become.

    Where they lie is made a scan root, if it is none.

    Raises:
        UnsupportedDownloadError: the scan takes them for no model of its own.
    """
    new_root = _made_root(node, plan)
    report = registry.rescan(node)
    for path in paths:
        for name in (path, Path(os.path.realpath(path))):
            if (model := model_at(node, safe_text(name))) is not None:
                if home_of(model) == node:
                    note_mended(model, _read(plan))
                return Registered(model, new_root)
    msg = f"All of it came, but it is no model here: {_why(node, plan, report, paths)}"
    raise UnsupportedDownloadError(msg)


def register_copy(
    node: str, plan: Plan, paths: Sequence[Path], model: DiscoveredModel
) -> Registered:
    """Have the node known to have the model's files, and rescan it.

    In a cache or a store, the scan finds them under the model's own name. In a folder of ours
    they have another path than on other nodes, so it is told beforehand which model they are.

    Raises:
        UnsupportedDownloadError: the scan takes them for another model, or for none.
    """
    new_root = _made_root(node, plan)
    if plan.root_kind == DIRECTORY:
        found = _found(plan.root, paths[0])
        if found is not None:
            note_copy(model, node, found)
    report = registry.rescan(node)
    if node in nodes_of(model):
        return Registered(model, new_root)
    other = model_at(node, paths[0])
    if other is not None and other.pk != model.pk:
        why = f"there it is {other.model_id}, whose files differ from what that scan has seen."
    elif other is not None:
        why = f"{as_on(other, node).problem or 'its files have gone again'}."
    else:
        why = _why(node, plan, report, paths)
    msg = f"All of it came, but it is no copy of {model.model_id}: {why}"
    raise UnsupportedDownloadError(msg)


def _read(plan: Plan) -> set[str]:
    """Return the sha256 of what was read to its end, whether it came or was there before."""
    return {file.digest.value for file in plan.files if file.digest.algorithm == SHA256}


def _found(root: Path, first: Path) -> FoundModel | None:
    """Return what a scan of `root` will find in the folder of a file."""
    found = discover([RootSpec(first.parent, DIRECTORY)])
    for model in found.models:
        if model.file_path == first:
            return replace(model, root_path=root)
    return None


def _made_root(node: str, plan: Plan) -> str:
    """Have a scan root hold what was fetched; return it where it is a new one."""
    if _is_scanned(node, plan.root):
        return ""
    return add_root(node, str(plan.root), kind=plan.root_kind).path


def _is_scanned(node: str, folder: Path) -> bool:
    """Whether a scan root holds `folder`; one that somebody has switched off does as well."""
    real = Path(os.path.realpath(folder))
    roots = [Path(os.path.realpath(root.path)) for root in sync_roots(node)]
    return any(real == root or is_in(real, root) for root in roots)


def _why(node: str, plan: Plan, report: ScanReport, paths: Sequence[Path]) -> str:
    skipped = {item["path"]: item["reason"] for item in report.skipped}
    names = [safe_text(path) for path in paths]
    names += [safe_text(Path(os.path.realpath(path))) for path in paths]
    for name in names:
        if not (reason := skipped.get(name, "")):
            continue
        if reason.startswith("older revision"):
            reason += ". One revision of a file is a model: that of `main`, else the newest"
        return f"{reason}."
    if ScanRoot.objects.filter(node=node, path=str(plan.root), is_enabled=False).exists():
        return "its folder is a scan root that is off. Enable it (Scan roots), and rescan."
    return "the last scan does not say why. `manage.py rescan` lists what it skips."
