"""Bring over what people had decided in the guide's `model_registry.json`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from models_app.audit_models import Action
from models_app.errors import RegistryFileError
from models_app.models import DiscoveredModel, Tier
from models_app.rules import save_overrides

MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Imported:
    """Which of our models took over something, and which of the file's are not here."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    not_here: list[str] = field(default_factory=list)


def read_registry_file(path: Path) -> dict[str, dict[str, Any]]:
    """Return the `models` of a registry file, by their ids in that file.

    Raises:
        RegistryFileError: it cannot be read, is too large, or has another shape.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        document = json.loads(raw) if len(raw) <= MAX_FILE_BYTES else None
    except OSError as error:
        raise RegistryFileError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RegistryFileError(path, "is not JSON") from error
    if document is None:
        raise RegistryFileError(path, f"is larger than {MAX_FILE_BYTES} bytes")
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise RegistryFileError(path, "has no `models` as the guide's model_registry.json has")
    for model_id, model in models.items():
        _check(path, model_id, model)
    return models


@transaction.atomic
def import_overrides(models: dict[str, dict[str, Any]]) -> Imported:
    """Take over `tier_override` and `thinking_override`; nothing is enabled by it.

    A model of the file is one of ours by its path, else by its id, else by its file
    name where that is the name of one model only: ids were made by another rule once.
    """
    imported = Imported()
    changed: list[DiscoveredModel] = []
    ours = list(DiscoveredModel.objects.all())
    for their_id, theirs in models.items():
        model = _find(ours, their_id, theirs)
        if model is None:
            imported.not_here.append(their_id)
            continue
        overrides = (theirs.get("tier_override") or "", theirs.get("thinking_override"))
        if overrides in {("", None), (model.tier_override, model.thinking_override)}:
            imported.unchanged.append(model.model_id)
            continue
        model.tier_override, model.thinking_override = overrides
        changed.append(model)
    save_overrides(changed, action=Action.IMPORT)
    imported.changed.extend(model.model_id for model in changed)
    return imported


def _check(path: Path, model_id: str, model: dict[str, Any]) -> None:
    # `in` a tuple: a list or an object of the file cannot be looked up in a set.
    if model.get("tier_override") not in (None, "", *Tier.values):
        accepted = ", ".join(Tier.values)
        raise RegistryFileError(path, f"{model_id}.tier_override is none of {accepted}, null")
    if not isinstance(model.get("thinking_override"), bool | None):
        raise RegistryFileError(path, f"{model_id}.thinking_override is no true, false or null")


def _find(
    ours: list[DiscoveredModel], their_id: str, theirs: dict[str, Any]
) -> DiscoveredModel | None:
    path = theirs.get("file_path")
    filename = theirs.get("filename")
    by_path = [model for model in ours if path and path in (model.file_path, model.blob_path)]
    by_id = [model for model in ours if model.model_id == their_id]
    by_name = [model for model in ours if filename and model.filename == filename]
    for matches in (by_path, by_id, by_name):
        if len(matches) == 1:
            return matches[0]
    return None
