"""On which nodes a model's files are, and where they lie there.

One node is its home: the one whose scan root its row is in. What other nodes have of the same
content are copies. Nothing here looks at a disk; registrar.py writes what scans find.
"""

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db.models import Exists, OuterRef, Q

from models_app.copy_models import ModelCopy
from models_app.errors import NotOnNodeError
from models_app.found import FoundModel
from models_app.models import DiscoveredModel, ScanRoot

MOST_NAMED: Final = 1000  # models in a query; of more, all copies are fetched
_COPY: Final = "_copy_pk"


def home_of(model: DiscoveredModel) -> str:
    """Return the node whose files the row of a model describes."""
    return model.root.node if model.root else settings.MAGI_NODE


def nodes_of(model: DiscoveredModel) -> tuple[str, ...]:
    """Return the nodes that have the model's files, its home first; see `nodes_of_all`."""
    return nodes_of_all([model])[model.pk]


def has_files_on(node: str) -> Q:
    """Return the condition of a query for the models that a node has, or had at home."""
    copies = ModelCopy.objects.filter(model=OuterRef("pk"), node=node)
    return Q(root__node=node) | Q(Exists(copies))


def nodes_of_all(models: Iterable[DiscoveredModel]) -> dict[int, tuple[str, ...]]:
    """Return by primary key the nodes that have each model's files, its home first.

    It costs one query for all. A home whose files have gone is not among them, nor is a copy
    that cannot be launched: it may be none at all.
    """
    return nodes_with(
        {model.pk: "" if model.is_missing else home_of(model) for model in models}
    )


def nodes_with(homes: Mapping[int, str]) -> dict[int, tuple[str, ...]]:
    """Return what `nodes_of_all` says of models, by their primary keys.

    Args:
        homes: of each model; empty of one whose files are missing there.
    """
    found = {model_pk: [home] if home else [] for model_pk, home in homes.items()}
    copies = ModelCopy.objects.filter(problem="").order_by("node")
    if len(found) <= MOST_NAMED:
        copies = copies.filter(model__in=list(found))
    for model_pk, node in copies.values_list("model", "node"):
        nodes = found.get(int(model_pk))
        if nodes is not None and node not in nodes:
            nodes.append(node)
    return {model_pk: tuple(nodes) for model_pk, nodes in found.items()}


def model_at(node: str, file_path: str | Path) -> DiscoveredModel | None:
    """Return the model that `node` has in a file, as its home or as a copy; None if in none.

    Args:
        file_path: what llama-server would be given, or where the bytes are; with links as
            they were followed when the node was scanned.
    """
    path = str(file_path)
    here = Q(file_path=path) | Q(blob_path=path)
    rows = DiscoveredModel.objects.select_related("root")
    if row := rows.filter(here, root__node=node, is_missing=False).first():
        return row
    there = ModelCopy.objects.filter(here, node=node).select_related("model__root").first()
    return there.model if there else None


def note_copy(model: DiscoveredModel, node: str, found: FoundModel) -> None:
    """Write down that `node` has the files of `model`, whatever they are called there.

    For files that were copied there and compared byte by byte. The scan that sees them
    as they look now leaves it at that.

    Args:
        found: the files as a scan of that node finds them.
    """
    root = ScanRoot.objects.filter(node=node, path=str(found.root_path)).first()
    files = {
        "root": root,
        "file_path": str(found.file_path),
        "blob_path": str(found.blob_path),
        "projector_path": str(found.projector_path or ""),
        "problem": found.problem,
        "file_signature": found.signature.as_json(),
    }
    ModelCopy.objects.update_or_create(model=model, node=node, defaults=files)


def as_on(model: DiscoveredModel, node: str) -> DiscoveredModel:
    """Return the model with the paths that its files have on `node`; it cannot be saved.

    Raises:
        NotOnNodeError: that node has no files of it, as far as its scans tell.
    """
    if model.root is not None and model.root.node == node:
        return model
    there = ModelCopy.objects.filter(model=model, node=node).select_related("root").first()
    if there is not None:
        return at_copy(model, there)
    if home_of(model) == node:
        return model
    raise NotOnNodeError(model.model_id, node)


def at_copy(model: DiscoveredModel, there: ModelCopy) -> DiscoveredModel:
    """Return the model with the paths of one of its copies, as `as_on` does."""
    local = copy.copy(model)
    local.root = there.root
    local.file_path = there.file_path
    local.blob_path = there.blob_path
    local.projector_path = there.projector_path
    local.problem = there.problem
    local.file_signature = there.file_signature
    local.is_missing = False
    # In its own dict, before the class's: the row says where its home has the files.
    vars(local)["save"] = partial(_refuse, model.model_id, there.node)
    vars(local)[_COPY] = there.pk
    return local


def copy_of(model: DiscoveredModel) -> int | None:
    """Return the key of the copy that `as_on` gave the paths of; None for a model's own row."""
    key: int | None = vars(model).get(_COPY)
    return key


def _refuse(model_id: str, node: str, *_args: object, **_options: object) -> None:
    msg = f"{model_id}, as it is on node {node}, is not its row: save that one."
    raise RuntimeError(msg)
