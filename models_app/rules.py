"""What follows from rules and overrides: a model's tier, and the name it is shown under."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from django.db import transaction

from models_app.filename import parse_filename
from models_app.models import DiscoveredModel, DiscoveryRules
from models_app.naming import display_name
from models_app.tiers import assign_tier

BATCH = 200


def current_rules() -> DiscoveryRules:
    """Return the one row of rules; the guide's values until somebody saves others."""
    return DiscoveryRules.objects.filter(pk=1).first() or DiscoveryRules(pk=1)


@transaction.atomic
def retier(rules: DiscoveryRules) -> list[str]:
    """Class every model as `rules` say; return the ids of those that changed.

    No id changes: it keeps the tier under which its model was first registered.
    """
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
def save_overrides(models: Iterable[DiscoveredModel], *, also: Iterable[str] = ()) -> None:
    """Save what a person decided of models, with the tiers and names that follow from it.

    Only these columns, and those named in `also`: a scan may be writing the others.
    """
    rules = current_rules()
    columns = ("tier_override", "thinking_override", "assigned_tier", *also)
    for model in models:
        model.assigned_tier = tier_of(model, rules)
        model.save(update_fields=columns)
    rename()


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

    def name(self, origin: str = "") -> str:
        override = self.thinking_override
        is_thinking = self.is_thinking_model if override is None else override
        return display_name(self, is_thinking=is_thinking, origin=origin)


def rename() -> None:
    """Give each model the name that follows from what is known of it.

    Models that would read the same show their repo as well, or the folder of a file that
    is from none; where that is the same too, their id.
    """
    alike: dict[str, list[int]] = defaultdict(list)  # pks: of most names there is one
    names: dict[int, str] = {}  # by pk, of rows that show another one
    for row in _rows():
        name = row.name()
        alike[name].append(row.pk)
        if row.display_name != name:
            names[row.pk] = name
    for pks in alike.values():
        if len(pks) > 1:
            for pk in pks:
                names.pop(pk, None)
            names |= _told_apart(list(_rows(pk__in=pks)))
    changed = [DiscoveredModel(pk=pk, display_name=name) for pk, name in names.items()]
    DiscoveredModel.objects.bulk_update(changed, ["display_name"], batch_size=BATCH)


def _rows(**lookups: object) -> Iterator[_Row]:
    rows = DiscoveredModel.objects.filter(**lookups).order_by()
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
