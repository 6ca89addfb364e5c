"""What follows from rules and overrides: a model's tier, and the name it is shown under."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from models_app import audit
from models_app.audit_models import Action
from models_app.errors import NoTierError, UnknownModelError
from models_app.events import MODEL, publish
from models_app.filename import parse_filename
from models_app.lookup import get_model
from models_app.models import KINDS_WITH_TIER, DiscoveredModel, DiscoveryRules
from models_app.naming import display_name
from models_app.tiers import assign_tier

BATCH = 200
BEGINNING_CHARS = 24  # of a name: what tells it from others of the same beginning follows
MAX_BEGINNINGS = 20  # for more, it is quicker to look at every name

OVERRIDES = ("tier_override", "thinking_override")

# DiscoveredModel.tier, for a query.
EFFECTIVE_TIER = Case(
    When(~Q(kind__in=KINDS_WITH_TIER), then=Value("")),
    When(tier_override="", then=F("assigned_tier")),
    default=F("tier_override"),
)


def current_rules() -> DiscoveryRules:
    """Return the one row of rules; the guide's values until somebody saves others."""
    return DiscoveryRules.objects.filter(pk=1).first() or DiscoveryRules(pk=1)


def locked_rules() -> DiscoveryRules:
    """Return the rules; nobody else has them for a change until the transaction ends.

    Whoever writes tiers or names, or several models at once, asks for them like this: what
    one reads of a model is then not what another is about to change, and no two wait for
    each other's rows.
    """
    DiscoveryRules.objects.get_or_create(pk=1)
    return DiscoveryRules.objects.select_for_update().get(pk=1)


@transaction.atomic
def retier(rules: DiscoveryRules) -> list[str]:
    """Class every model as `rules` say; return the ids of those that changed.

    No id changes: it keeps the tier under which its model was first registered.
    """
    locked_rules()
    changed = []
    for model in DiscoveredModel.objects.all():
        before = (model.is_thinking_model, model.assigned_tier)
        model.is_thinking_model = parse_filename(model.filename, rules.words).is_thinking
        model.assigned_tier = tier_of(model, rules)
        if (model.is_thinking_model, model.assigned_tier) != before:
            changed.append(model)
    DiscoveredModel.objects.bulk_update(
        changed, ["is_thinking_model", "assigned_tier"], batch_size=BATCH
    )
    rename()
    return [model.model_id for model in changed]


@transaction.atomic
def save_overrides(
    models: Iterable[DiscoveredModel],
    *,
    columns: Collection[str] = OVERRIDES,
    action: Action = Action.OVERRIDE,
) -> None:
    """Save what a person decided of models, with the tiers and names that follow from it.

    Args:
        columns: of `models`, those that are saved. The others may be out of date: a scan,
            or somebody else, may be writing them.
        action: how the audit calls it.

    Raises:
        UnknownModelError: one of them has been removed; nothing has changed.
    """
    rules = locked_rules()
    rows = DiscoveredModel.objects.select_for_update(no_key=True)
    names: set[str] = set()
    for model in models:
        row = rows.filter(pk=model.pk).first()
        if row is None:
            raise UnknownModelError(model.model_id)
        before = _Row.of(row).name()
        decided = {column: getattr(row, column) for column in columns}
        deciding = {column: getattr(model, column) for column in columns}
        audit.record_change(action, row, decided, deciding)
        for column, value in deciding.items():
            setattr(row, column, value)
        model.assigned_tier = row.assigned_tier = tier_of(row, rules)
        row.save(update_fields=[*columns, "assigned_tier"])
        if (after := _Row.of(row).name()) != before:
            names |= {before, after, row.display_name}
        event = {
            "model_id": row.model_id,
            "tier": row.tier or None,
            "thinking": row.is_thinking,
        }
        transaction.on_commit(partial(publish, MODEL, event))
    if names:
        rename(like=names)


def override_tier(model_id: str, tier: str | None) -> DiscoveredModel:
    """Give a model a tier of a person's choice, or with None that of the rules again.

    Raises:
        UnknownModelError: no model has that id.
        NoTierError: it is of a kind that has no tier.
    """
    model = get_model(model_id)
    if tier and not model.has_tier:
        raise NoTierError(model_id, model.kind)
    model.tier_override = tier or ""
    save_overrides([model], columns=["tier_override"])
    return model


def override_thinking(model_id: str, *, thinking: bool | None) -> DiscoveredModel:
    """Say whether a model thinks, or with None have its name say so again.

    Raises:
        UnknownModelError: no model has that id.
    """
    model = get_model(model_id)
    model.thinking_override = thinking
    save_overrides([model], columns=["thinking_override"])
    return model


class _Row(NamedTuple):
    """What a name is made of."""

    pk: int
    model_id: str
    display_name: str
    family: str
    version: str
    variant: str
    size_text: str
    quantization: str
    repo_id: str
    file_path: str
    is_thinking_model: bool
    thinking_override: bool | None

    @classmethod
    def of(cls, model: DiscoveredModel) -> "_Row":
        return cls(*(getattr(model, column) for column in cls._fields))

    def name(self, origin: str = "") -> str:
        override = self.thinking_override
        is_thinking = self.is_thinking_model if override is None else override
        return display_name(self, is_thinking=is_thinking, origin=origin)


@transaction.atomic
def rename(like: Iterable[str] = ()) -> None:
    """Give each model the name that follows from what is known of it.

    Models that would read the same show their repo as well, or the folder of a file that
    is from none; where that is the same too, their id.

    Args:
        like: names, to look only at models whose own begin like them; without it, at all.
    """
    locked_rules()
    beginnings = {name[:BEGINNING_CHARS] for name in like}
    alike_rows = Q()
    if len(beginnings) <= MAX_BEGINNINGS:
        for beginning in beginnings:
            alike_rows |= Q(display_name__startswith=beginning)
    alike: dict[str, list[int]] = defaultdict(list)  # pks: of most names there is one
    names: dict[int, str] = {}  # by pk, of rows that show another one
    for row in _rows(alike_rows):
        name = row.name()
        alike[name].append(row.pk)
        if row.display_name != name:
            names[row.pk] = name
    for pks in alike.values():
        if len(pks) > 1:
            for pk in pks:
                names.pop(pk, None)
            names |= _told_apart(list(_rows(Q(pk__in=pks))))
    changed = [DiscoveredModel(pk=pk, display_name=name) for pk, name in names.items()]
    DiscoveredModel.objects.bulk_update(changed, ["display_name"], batch_size=BATCH)


def _rows(condition: Q) -> Iterator[_Row]:
    rows = DiscoveredModel.objects.filter(condition).order_by()
    return itertools.starmap(_Row, rows.values_list(*_Row._fields).iterator())


def _told_apart(rows: Sequence[_Row]) -> dict[int, str]:
    names = [row.name(row.repo_id or Path(row.file_path).parent.name) for row in rows]
    if len(set(names)) < len(rows):
        names = [row.name(row.model_id) for row in rows]
    return {
        row.pk: name for row, name in zip(rows, names, strict=True) if row.display_name != name
    }


def tier_of(model: DiscoveredModel, rules: DiscoveryRules) -> str:
    """Return the tier that the rules assign; empty for a kind that has none."""
    if not model.has_tier:
        return ""
    return assign_tier(
        model.size_params,
        model.quantization,
        is_thinking=model.is_thinking,
        powerful_min=rules.powerful_min,
        fast_max=rules.fast_max,
    )
