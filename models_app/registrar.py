"""Write what a scan finds: rows in batches, each whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from models_app.copy_models import ModelCopy
from models_app.discovery import FoundModel, Skipped
from models_app.homes import content_of, settle
from models_app.known_models import Here, KnownModels
from models_app.matching import Content, Match, Row, is_of_family, match
from models_app.models import DiscoveredModel, DiscoveryRules, ScanRoot
from models_app.naming import display_name, make_model_id, next_free_id
from models_app.rows import row_fields, why_not_storable
from models_app.rules import locked_rules, tier_of
from models_app.validation import sha256_named
from models_app.versions import keep_versions, note_versions

T = TypeVar("T")

MAX_ID_CHARS = 180  # the column holds 200; _2, _3… need some
BATCH = 200  # rows a statement: a transaction well under a second, so that no writer waits long
_OF_A_COPY = (
    "root", "file_path", "blob_path", "projector_path", "problem", "file_signature",
)  # fmt: skip


class _Matched(NamedTuple):
    found: FoundModel
    match: Match
    row: DiscoveredModel | None  # None of a new one


@dataclass(slots=True)
class Registrar:
    """Takes models as they are found, and writes them two hundred at a time."""

    node: str
    roots: Mapping[str, ScanRoot]  # by path
    known: KnownModels
    rules: DiscoveryRules
    added: list[str] = field(default_factory=list)  # ids
    updated: list[str] = field(default_factory=list)
    refused: list[Skipped] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # primary keys
    _batch: list[FoundModel] = field(default_factory=list)

    def add(self, model: FoundModel) -> None:
        if reason := why_not_storable(model):
            self.refused.append(Skipped(model.file_path, reason))
            return
        self._batch.append(model)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has been taken."""
        found, self._batch = sorted(self._batch, key=lambda model: model.filename), []
        if not found:
            return
        with transaction.atomic():
            # Scans of several nodes decide one after the other which row is whose; and an
            # override that is saved meanwhile has its say on the tier.
            locked_rules()
            matched = self._matched(found)
            added = self._add([item for item in matched if item.row is None])
            homes = [item for item in matched if item.row and not item.match.is_copy]
            updated = self._update(homes)
            copied, copied_anew = self._copy([item for item in matched if item.match.is_copy])
        self.added += [row.model_id for row in (*added, *copied)]
        self.updated += [row.model_id for row in (*updated, *copied_anew)]
        self.seen |= {row.pk for row in (*added, *updated, *copied, *copied_anew)}

    def _matched(self, found: Sequence[FoundModel]) -> list[_Matched]:
        identities = {model.identity for model in found}
        for model in found:
            identities.update(self.known.own.get(model.identity, ()))
        matched = self._matched_with(found, Q(identity__in=identities))
        # Another node may have got a row of its own since we looked.
        own = [
            item.found
            for item in matched
            if item.row is None and item.match.identity not in identities
        ]
        if own:
            family = Q()
            for model in own:
                family |= Q(identity=model.identity)
                family |= Q(identity__startswith=f"{model.identity}@")
            matched = [item for item in matched if item.found not in own]
            matched += self._matched_with(own, family)
        return matched

    def _matched_with(self, found: Sequence[FoundModel], families: Q) -> list[_Matched]:
        here = {
            model.identity: known.pk
            for model in found
            if (known := self.known.here.get(model.identity)) is not None
        }
        wanted = DiscoveredModel.objects.filter(families | Q(pk__in=here.values()))
        rows = {row.pk: row for row in wanted.select_related("root")}
        homeless = [row.pk for row in rows.values() if row.root is None]
        copies = ModelCopy.objects.filter(model__in=homeless).exclude(node=self.node)
        with_copies = set(copies.values_list("model_id", flat=True)) if homeless else set()
        as_matched = {pk: _row(row, has_copies=pk in with_copies) for pk, row in rows.items()}
        by_beginning: dict[str, list[Row]] = {}
        for it in as_matched.values():
            by_beginning.setdefault(_beginning(it.identity), []).append(it)
        matched = []
        for model in found:
            alike = by_beginning.get(_beginning(model.identity), ())
            family = [row for row in alike if is_of_family(row.identity, of=model.identity)]
            if (pk := here.get(model.identity)) in as_matched:
                family = [row for row in family if row.pk != pk]
                family.append(as_matched[pk]._replace(is_here=True))
            content = Content(model.size_bytes, sha256_named(model.blob_path))
            its = match(model.identity, content, self.node, family)
            matched.append(_Matched(model, its, None if its.pk is None else rows[its.pk]))
        return matched

    def _fields(self, item: _Matched) -> dict[str, object]:
        root = self.roots[str(item.found.root_path)]
        return row_fields(item.found, root) | {"identity": item.match.identity}

    def _add(self, new: Sequence[_Matched]) -> list[DiscoveredModel]:
        """Register new models, each with its id for good."""
        rows, bases = [], []
        for item in new:
            row = DiscoveredModel(**self._fields(item))
            row.assigned_tier = tier_of(row, self.rules)
            row.display_name = display_name(row, is_thinking=row.is_thinking)
            bases.append(make_model_id(item.found, row.assigned_tier)[:MAX_ID_CHARS])
            rows.append(row)
        self._give_ids(list(zip(rows, bases, strict=True)))
        DiscoveredModel.objects.bulk_create(rows)
        note_versions(rows)
        return rows

    def _give_ids(self, rows: Sequence[tuple[DiscoveredModel, str]]) -> None:
        taken = self.known.ids
        while rows:
            for row, base in rows:
                row.model_id = next_free_id(base, taken)
                taken.add(row.model_id)
            ids = [row.model_id for row, _ in rows]
            others = DiscoveredModel.objects.filter(model_id__in=ids)  # of other nodes' scans
            given = set(others.values_list("model_id", flat=True))
            rows = [(row, base) for row, base in rows if row.model_id in given]

    def _update(self, homes: Sequence[_Matched]) -> list[DiscoveredModel]:
        names = {"assigned_tier"}
        updated, changed, moved = [], [], []
        for item in homes:
            row = item.row
            if row is None:
                continue
            before, home = content_of(row), row.root and row.root.node
            fields = self._fields(item)
            for name, value in fields.items():
                setattr(row, name, value)
            row.assigned_tier = tier_of(row, self.rules)
            names.update(fields)
            updated.append(row)
            if not content_of(row).is_same_as(before):
                changed.append(row)
            elif home != self.node:
                moved.append(row)
        if not updated:
            return []
        DiscoveredModel.objects.bulk_update(updated, sorted(names))
        # What was a copy here is the home now.
        ModelCopy.objects.filter(model__in=updated, node=self.node).delete()
        settle(changed, is_alone=self.known.is_alone)
        keep_versions(moved)
        note_versions(updated)
        return updated

    def _copy(
        self, copied: Sequence[_Matched]
    ) -> tuple[list[DiscoveredModel], list[DiscoveredModel]]:
        """Write copies; return the models that are new on this node, and the others."""
        rows = [item.row for item in copied if item.row is not None]
        if not rows:
            return [], []
        here = ModelCopy.objects.filter(model__in=rows, node=self.node)
        known = set(here.values_list("model_id", flat=True))
        copies = []
        for item in copied:
            fields = self._fields(item)
            files = {name: fields[name] for name in _OF_A_COPY}
            copies.append(ModelCopy(model=item.row, node=self.node, **files))
        ModelCopy.objects.bulk_create(
            copies,
            update_conflicts=True,
            unique_fields=["model", "node"],
            update_fields=_OF_A_COPY,
        )
        return (
            [row for row in rows if row.pk not in known],
            [row for row in rows if row.pk in known],
        )


def _row(row: DiscoveredModel, *, has_copies: bool) -> Row:
    return Row(
        pk=row.pk,
        identity=row.identity,
        home=row.root.node if row.root else None,
        is_missing=row.is_missing,
        content=content_of(row),
        has_copies=has_copies,
    )


def _beginning(identity: str) -> str:
    return identity.partition("@")[0]


def mark_found(rows: Sequence[Here]) -> None:
    """Have rows be there again that were missing, and whose files look as they did."""
    for batch in _batches([row.pk for row in rows if row.is_missing]):
        with transaction.atomic():
            locked_rules()
            DiscoveredModel.objects.filter(pk__in=batch).update(is_missing=False)


@transaction.atomic
def give_ports(since: datetime) -> None:
    """Give models registered since then the next ports of the range, by their file names."""
    locked_rules()
    new = DiscoveredModel.objects.filter(discovered_at__gte=since, port=None)
    ports = _unused_ports()
    rows = []
    for row in new.order_by("filename", "pk").only("pk")[: _range_size()]:
        if (port := next(ports, None)) is None:
            break
        row.port = port
        rows.append(row)
    DiscoveredModel.objects.bulk_update(rows, ["port"], batch_size=BATCH)


def _range_size() -> int:
    return max(0, settings.MODEL_PORT_RANGE_END + 1 - settings.MODEL_PORT_RANGE_START)


def _unused_ports() -> Iterator[int]:
    used = set(DiscoveredModel.objects.exclude(port=None).values_list("port", flat=True))
    ports = range(settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END + 1)
    return (port for port in ports if port not in used)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
