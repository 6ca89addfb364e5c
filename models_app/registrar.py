"""Write what a scan finds: rows in batches, each whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.conf import settings
from django.db import transaction

from models_app.discovery import FoundModel, KnownFile, Skipped
from models_app.models import DiscoveredModel, DiscoveryRules, ScanRoot
from models_app.naming import display_name, make_model_id, next_free_id
from models_app.rows import row_fields, why_not_storable
from models_app.rules import locked_rules, tier_of

T = TypeVar("T")

MAX_ID_CHARS = 180  # the column holds 200; _2, _3… need some
BATCH = 200  # rows a statement: a transaction well under a second, so that no writer waits long


@dataclass(frozen=True, slots=True)
class Registered:
    """A row as a scan needs it; thousands of them are held."""

    pk: int
    model_id: str
    root_id: int | None
    is_missing: bool
    signature: KnownFile | None  # None when another version of MAGI wrote it


def registered_models() -> dict[str, Registered]:
    """Return all rows, by identity."""
    columns = ("identity", "pk", "model_id", "root_id", "is_missing", "file_signature")
    rows = DiscoveredModel.objects.order_by().values_list(*columns).iterator()
    return {
        identity: Registered(pk, model_id, root_id, is_missing, KnownFile.of_json(signature))
        for identity, pk, model_id, root_id, is_missing, signature in rows
    }


@dataclass(slots=True)
class Registrar:
    """Takes models as they are found, and writes them two hundred at a time."""

    roots: Mapping[str, ScanRoot]  # by path
    rows: Mapping[str, Registered]  # by identity
    rules: DiscoveryRules
    added: list[str] = field(default_factory=list)  # ids
    updated: list[str] = field(default_factory=list)
    refused: list[Skipped] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # identities
    _taken: set[str] = field(init=False)
    _batch: list[FoundModel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._taken = {row.model_id for row in self.rows.values()}

    def add(self, model: FoundModel) -> None:
        if reason := why_not_storable(model):
            self.refused.append(Skipped(model.file_path, reason))
            return
        self.seen.add(model.identity)
        self._batch.append(model)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has been taken."""
        found, self._batch = self._batch, []
        new = [model for model in found if model.identity not in self.rows]
        changed = [model for model in found if model.identity in self.rows]
        self._add(sorted(new, key=lambda model: model.filename))
        self._update(changed)

    def _add(self, found: Sequence[FoundModel]) -> None:
        """Register new models, each with its id for good."""
        rows = []
        for model in found:
            row = DiscoveredModel(**row_fields(model, self.roots[str(model.root_path)]))
            row.assigned_tier = tier_of(row, self.rules)
            row.display_name = display_name(row, is_thinking=row.is_thinking)
            base = make_model_id(model, row.assigned_tier)[:MAX_ID_CHARS]
            row.model_id = next_free_id(base, self._taken)
            self._taken.add(row.model_id)
            rows.append(row)
        DiscoveredModel.objects.bulk_create(rows)
        self.added += [row.model_id for row in rows]

    @transaction.atomic
    def _update(self, found: Sequence[FoundModel]) -> None:
        if not found:
            return
        locked_rules()  # an override that is saved meanwhile has its say on the tier
        rows = DiscoveredModel.objects.in_bulk([self.rows[m.identity].pk for m in found])
        names = {"assigned_tier"}
        updated = []
        for model in found:
            row = rows.get(self.rows[model.identity].pk)
            if row is None:
                continue  # deleted while we looked; the next scan finds it anew
            fields = row_fields(model, self.roots[str(model.root_path)])
            for name, value in fields.items():
                setattr(row, name, value)
            row.assigned_tier = tier_of(row, self.rules)
            names.update(fields)
            updated.append(row)
        DiscoveredModel.objects.bulk_update(updated, sorted(names))
        self.updated += [row.model_id for row in updated]


def mark(rows: Sequence[Registered], *, is_missing: bool) -> None:
    ids = [row.pk for row in rows if row.is_missing is not is_missing]
    for batch in _batches(ids):
        with transaction.atomic():
            locked_rules()
            DiscoveredModel.objects.filter(pk__in=batch).update(is_missing=is_missing)


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
