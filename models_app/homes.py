"""Where a model has its home and where copies, when files change or go.

All of this is done with the rules locked: no scan of another node decides meanwhile.
"""

from collections.abc import Collection, Iterable, Sequence

from django.db import transaction
from django.db.models import Q, QuerySet

from models_app.copy_models import ModelCopy
from models_app.matching import Content, found_as
from models_app.models import DiscoveredModel
from models_app.pruning import models_of
from models_app.rules import locked_rules
from models_app.validation import sha256_named
from models_app.versions import keep_versions

BATCH = 200  # rows a transaction, as the registrar has it
_FILES = ("root", "file_path", "blob_path", "projector_path", "problem", "file_signature")


def content_of(row: DiscoveredModel) -> Content:
    return Content(row.size_bytes, sha256_named(row.blob_path))


def settle(changed: Sequence[DiscoveredModel], *, is_alone: bool) -> None:
    """After the content of rows has changed, have copies be of what they have now.

    A copy of what they had is none any more; its node's next scan finds what it is. A row
    that another node had of its own, because of its content, becomes a copy if that is
    the content now: it is missing then, and keeps what people decided of it.

    Args:
        is_alone: no other node has a scan root.
    """
    if not changed:
        return
    rows = {row.identity: row for row in changed}
    contents = {row.pk: content_of(row) for row in changed}
    copies = ModelCopy.objects.filter(model__in=changed)
    other = [
        copy.pk for copy in copies if not _content_of(copy).is_same_as(contents[copy.model_id])
    ]
    ModelCopy.objects.filter(pk__in=other).delete()
    if is_alone:
        return
    own = Q()
    for identity in rows:
        own |= Q(identity__startswith=f"{identity}@")
    twins = DiscoveredModel.objects.filter(own, is_missing=False).select_related("root")
    for twin in twins.exclude(root=None):
        row = rows.get(found_as(twin.identity))
        if row is not None and content_of(twin).is_same_as(contents[row.pk]):
            _join(twin, row)


def leave(node: str, seen: Collection[int], *, is_alone: bool) -> list[str]:
    """Write down that `node` has of the registry's models those in `seen`, and no others.

    Copies of the others are removed. Of those that have their home here, or none because
    their scan root was removed, one that a node has a copy of gets its home there; the rest
    is missing.

    Args:
        seen: primary keys of models.
        is_alone: no other node has a scan root.

    Returns:
        the ids of models that the node does not have.
    """
    copies = ModelCopy.objects.filter(node=node).order_by()
    gone = {
        pk: model_id
        for pk, model_pk, model_id in copies.values_list("pk", "model_id", "model__model_id")
        if model_pk not in seen
    }
    for batch in _batches(list(gone)):
        with transaction.atomic():
            locked_rules()
            ModelCopy.objects.filter(pk__in=batch).delete()
    rows = models_of(node).order_by()
    elsewhere = set() if is_alone else _with_copies(rows)
    missing, to_do = [], []
    for pk, model_id, root, is_missing in rows.values_list(
        "pk", "model_id", "root", "is_missing"
    ):
        if pk not in seen:
            missing.append(model_id)
        elif root is not None:
            continue  # the others are seen as copies, and have no home
        if pk in elsewhere or not is_missing:
            to_do.append(pk)
    for batch in _batches(to_do):
        _leave_homes(node, batch)
    return [*gone.values(), *missing]


def _with_copies(rows: QuerySet[DiscoveredModel]) -> set[int]:
    return set(rows.filter(copies__isnull=False).values_list("pk", flat=True))


@transaction.atomic
def _leave_homes(node: str, keys: Sequence[int]) -> None:
    locked_rules()
    rows = models_of(node).in_bulk(keys)  # another scan may have given some a home meanwhile
    copies = (
        ModelCopy.objects.filter(model__in=rows)
        .exclude(root=None)  # nor is there a home without a scan root
        .select_related("root")
        .order_by("problem", "pk")  # one that can run comes first
    )
    homes: dict[int, ModelCopy] = {}
    for copy in copies:
        homes.setdefault(copy.model_id, copy)
    rehome([rows[pk] for pk in homes], homes.values())
    lost = [pk for pk, row in rows.items() if pk not in homes and not row.is_missing]
    DiscoveredModel.objects.filter(pk__in=lost).update(is_missing=True)


def rehome(rows: Sequence[DiscoveredModel], copies: Iterable[ModelCopy]) -> None:
    """Have each row's home be the node of a copy, which is none any more.

    Args:
        copies: one of each row, in their order, with its root.
    """
    copies = list(copies)
    for row, copy in zip(rows, copies, strict=True):
        had_projector = bool(row.projector_path)
        for name in _FILES:
            setattr(row, name, getattr(copy, name))
        row.is_missing = False
        if bool(row.projector_path) != had_projector:
            row.file_signature = {}  # what it can do is another: have it read there
    DiscoveredModel.objects.bulk_update(rows, [*_FILES, "is_missing"])
    ModelCopy.objects.filter(pk__in=[copy.pk for copy in copies]).delete()
    keep_versions(rows)


def _join(twin: DiscoveredModel, row: DiscoveredModel) -> None:
    """Make copies of a row of what another row, of the same content, has."""
    home = row.root.node if row.root else None
    ours = set(ModelCopy.objects.filter(model=row).values_list("node", flat=True)) | {home}
    theirs = ModelCopy.objects.filter(model=twin)
    theirs.filter(node__in=ours).delete()
    theirs.update(model=row)
    if twin.root is not None and twin.root.node not in ours:
        files = {name: getattr(twin, name) for name in _FILES}
        ModelCopy.objects.create(model=row, node=twin.root.node, **files)
    DiscoveredModel.objects.filter(pk=twin.pk).update(is_missing=True)


def _content_of(copy: ModelCopy) -> Content:
    return Content(copy.file_signature.get("size_bytes", -1), sha256_named(copy.blob_path))


def _batches(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
