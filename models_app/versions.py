"""Notice when the content of a model's files is another: a row for each that was seen.

A scan calls this for what it has read anew, two hundred rows at a time. Nothing is hashed:
a blob's name says its hash, and of other files their names, sizes and times must do.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from django.db import transaction
from django.db.models import Count

from models_app.events import MODEL, publish
from models_app.models import DiscoveredModel
from models_app.validation import sha256_named, shard_paths
from models_app.version_models import ModelVersion

KEPT: Final = 10  # versions of a model, the current one among them
MAX_TOLD: Final = 50  # ids in one event

# Of a Hugging Face cache: models--ORG--NAME/snapshots/COMMIT/path/in/repo.gguf
_SNAPSHOT = re.compile(r"/snapshots/([0-9a-f]{7,64})/")


@dataclass(frozen=True, slots=True)
class Content:
    """What a model's files are, as far as they tell without being read."""

    revision: str
    signature: str
    size_bytes: int
    sha256: dict[str, str]  # by file name; empty where nothing says it


def content_of(model: DiscoveredModel) -> Content:
    """Return what a registered model's files are; it reads links, where there are shards."""
    revision = _SNAPSHOT.search(model.file_path) if model.identity.startswith("hf:") else None
    sha256 = _named_hashes(model)
    looks = ["sha256", *sha256.values()] if sha256 else _looks(model)
    return Content(
        revision=revision[1] if revision else "",
        signature=_of_looks(looks),
        size_bytes=model.size_bytes,
        sha256=sha256,
    )


@transaction.atomic
def note_versions(models: Sequence[DiscoveredModel]) -> list[str]:
    """Have each model's current version be what its files are now.

    A content that was there before, and is back, is the version that it was. It takes a few
    queries, however many models there are.

    Returns:
        the ids of the models whose content was another before.
    """
    rows = ModelVersion.objects.filter(model__in=models)
    known = {(row.model_id, row.signature): row for row in rows}
    current = {row.model_id: row for row in known.values() if row.is_current}
    new: list[ModelVersion] = []
    back: list[ModelVersion] = []  # older ones whose content is there again
    moved: list[ModelVersion] = []  # the same content in another commit
    changed: list[str] = []
    over: list[int] = []  # keys of those that are current no longer
    for model in models:
        content = content_of(model)
        before = current.get(model.pk)
        if before is not None and before.signature == content.signature:
            if before.revision != content.revision:
                before.revision = content.revision
                moved.append(before)
            continue
        if before is not None:
            over.append(before.pk)
            changed.append(model.model_id)
        if (again := known.get((model.pk, content.signature))) is not None:
            again.is_current, again.revision = True, content.revision
            back.append(again)
        else:
            new.append(_row(model, content))
    ModelVersion.objects.filter(pk__in=over).update(is_current=False)
    ModelVersion.objects.bulk_update([*back, *moved], ["is_current", "revision"])
    ModelVersion.objects.bulk_create(new)
    if changed:
        _forget_oldest(row.model_id for row in new)
        event = {"change": "content", "count": len(changed), "model_ids": changed[:MAX_TOLD]}
        transaction.on_commit(partial(publish, MODEL, event))
    return changed


def keep_versions(models: Sequence[DiscoveredModel]) -> None:
    """Have each model's current version be what its files are where they lie now.

    For models whose home is another node than before: the same content has other times there.
    """
    current = ModelVersion.objects.filter(model__in=models, is_current=True)
    rows = {row.model_id: row for row in current}
    kept = []
    for model in models:
        if (row := rows.get(model.pk)) is not None and not sha256_named(model.blob_path):
            row.signature = _of_looks(_looks(model))
            kept.append(row)
    ModelVersion.objects.bulk_update(kept, ["signature"])


def current_version(model: DiscoveredModel) -> ModelVersion:
    """Return what the model's files are, as the last scan saw them.

    Raises:
        UnknownModelError: it has been removed meanwhile.
    """
    version = ModelVersion.objects.filter(model=model, is_current=True).first()
    if version is None:
        note_versions([model])
        version = ModelVersion.objects.get(model=model, is_current=True)
    return version


def _looks(model: DiscoveredModel) -> list[str]:
    """Return what files look like whose blobs are not named by their hashes."""
    known = model.file_signature
    return [
        Path(model.file_path).name,
        str(model.size_bytes),
        str(known.get("mtime_ns")),
        str(known.get("newest_mtime_ns")),
    ]


def _of_looks(looks: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(looks).encode(), digest_size=32).hexdigest()


def _row(model: DiscoveredModel, content: Content) -> ModelVersion:
    return ModelVersion(
        model=model,
        revision=content.revision,
        signature=content.signature,
        size_bytes=content.size_bytes,
        sha256=content.sha256,
    )


def _named_hashes(model: DiscoveredModel) -> dict[str, str]:
    """Return the hashes that blobs are named by; nothing unless all of them are."""
    first = sha256_named(model.blob_path)
    if first is None:
        return {}
    paths = shard_paths(model)
    hashes = {paths[0].name: first}
    for path in paths[1:]:
        named = sha256_named(os.path.realpath(path))
        if named is None:
            return {}
        hashes[path.name] = named
    return hashes


def _forget_oldest(keys: Iterable[int]) -> None:
    """Delete what a model has more than KEPT of, the oldest first."""
    many = (
        ModelVersion.objects.filter(model__in=list(keys))
        .order_by()
        .values("model")
        .annotate(count=Count("pk"))
        .filter(count__gt=KEPT)
        .values_list("model", flat=True)
    )
    seen: dict[int, int] = {}
    old: list[int] = []
    rows = ModelVersion.objects.filter(model__in=list(many)).order_by(
        "-is_current", "-first_seen_at", "-pk"
    )
    for pk, model_pk in rows.values_list("pk", "model_id"):
        seen[model_pk] = seen.get(model_pk, 0) + 1
        if seen[model_pk] > KEPT:
            old.append(pk)
    ModelVersion.objects.filter(pk__in=old).delete()
