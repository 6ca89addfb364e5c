"""Remove the rows of models that have gone, when somebody asks for it."""

from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError, Q, QuerySet
from django.dispatch import Signal

from models_app.audit_forms import delete_rows
from models_app.models import DiscoveredModel, ScanRoot
from models_app.rules import locked_rules, rename

# What the audit keeps of a model whose row is removed: what nobody can find out again.
TOLD = ("file_path", "tier_override", "thinking_override", "notes", "port")

# Sent with `model` before its row is removed: whoever has rows of it that are of no use any
# more removes them. One that is in use is protected by its foreign key.
about_to_prune = Signal()


def models_of(node: str) -> QuerySet[DiscoveredModel]:
    """Return the models that a scan of `node` answers for: in its roots, and in none."""
    return DiscoveredModel.objects.filter(Q(root__node=node) | Q(root=None))


def prune_missing(node: str, root_errors: list[dict[str, str]]) -> dict[str, Any]:
    """Remove the missing models of a node, with their overrides and memberships.

    A model stays when nobody knows whether it has gone: its scan root is disabled, a folder
    above it could not be read, or there is nothing in its root, as where a disk is not
    mounted. It stays as well while its server runs, and when another node has it.

    Args:
        root_errors: of the scan that found them missing; each names a `path`.

    Returns:
        the ids as fields of a scan report: `missing` are those that stay, and `pruned`.
    """
    unread = [Path(error["path"]) for error in root_errors]
    unread += [Path(root.path) for root in ScanRoot.objects.filter(node=node) if _is_bare(root)]
    missing, pruned = [], []
    rows = models_of(node).filter(is_missing=True).select_related("root").order_by("model_id")
    for model in rows:
        is_known_gone = model.root is None or model.root.is_enabled
        if is_known_gone and not any(
            Path(model.file_path).is_relative_to(folder) for folder in unread
        ):
            model_id = model.model_id
            if _remove(model, node):
                pruned.append(model_id)
                continue
        missing.append(model.model_id)
    if pruned:
        rename()
    return {"missing": missing, "pruned": pruned}


def _is_bare(root: ScanRoot) -> bool:
    try:
        return not any(Path(root.path).iterdir())
    except OSError:
        return True


def _remove(model: DiscoveredModel, node: str) -> bool:
    try:
        with transaction.atomic():
            locked_rules()  # nor does another node's scan find it meanwhile
            gone = models_of(node).filter(pk=model.pk, is_missing=True, copies=None)
            if not gone.exists():
                return False
            about_to_prune.send(sender=DiscoveredModel, model=model)
            delete_rows(DiscoveredModel.objects.filter(pk=model.pk), told=TOLD)
    except ProtectedError:
        return False
    return True
