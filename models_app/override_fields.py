"""Overrides in a list of models: a field for each, and what somebody made of them.

An option's value says what the page showed and what is to be, such as `auto>fast`. So a field
that nobody touched changes nothing, and what somebody else has changed meanwhile stays theirs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.models import DiscoveredModel, Tier
from models_app.rules import locked_rules, save_overrides

AUTO: Final = "auto"
MAX_DIGITS: Final = 18  # of an id: a database has no longer ones


@dataclass(frozen=True, slots=True)
class Override:
    """A column that a person may set, or leave to the rules."""

    name: str  # of its fields
    label: str
    column: str
    values: Mapping[str, Any]  # by the word that a field has for each

    def word(self, model: DiscoveredModel) -> str:
        value = getattr(model, self.column)
        return next(word for word, meant in self.values.items() if meant == value)

    def applies_to(self, model: DiscoveredModel) -> bool:
        return self is not TIER or model.has_tier


TIER: Final = Override(
    "tier", "Tier", "tier_override", {AUTO: "", **{tier: tier for tier in Tier.values}}
)
THINKING: Final = Override(
    "thinking", "Thinking", "thinking_override", {AUTO: None, "on": True, "off": False}
)
OVERRIDES: Final = {override.name: override for override in (TIER, THINKING)}


class Edit(NamedTuple):
    """What a person chose in one field."""

    pk: int
    override: Override
    shown: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Edited:
    models: list[DiscoveredModel] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # sentences, on what was not changed


def without_override(override: Override, model: DiscoveredModel) -> str:
    """Return what holds where no person says else."""
    if override is TIER:
        return model.assigned_tier or "none"
    return "on" if model.is_thinking_model else "off"


def star(override: Override, model: DiscoveredModel) -> str:
    """Return the mark of what a person decided; nothing where the rules do."""
    if override.word(model) == AUTO:
        return ""
    rules = without_override(override, model)
    return format_html(
        '<span class="magi-override" title="Set by a person; by the rules: {}">*</span>', rules
    )


def override_field(override: Override, model: DiscoveredModel) -> SafeString:
    """Return the choice for one model, with its star."""
    shown = override.word(model)
    options = format_html_join(
        "",
        '<option value="{}>{}"{}>{}</option>',
        (
            (
                shown,
                word,
                " selected" if word == shown else "",
                f"{without_override(override, model)} (auto)" if word == AUTO else word,
            )
            for word in override.values
        ),
    )
    return format_html(
        '<select id="{0}-{1}" name="{0}-{1}" aria-label="{2} of {3}">{4}</select>{5}',
        override.name,
        model.pk,
        override.label,
        model.display_name,
        options,
        star(override, model),
    )


def edits(sent: Mapping[str, str]) -> Iterator[Edit]:
    """Yield the fields of a form in which something else was chosen than was shown."""
    for name, value in sent.items():
        kind, _, pk = name.partition("-")
        shown, _, chosen = value.partition(">")
        override = OVERRIDES.get(kind)
        if override is None or not (pk.isdecimal() and len(pk) <= MAX_DIGITS):
            continue
        if shown != chosen and {shown, chosen} <= override.values.keys():
            yield Edit(int(pk), override, shown, chosen)


@transaction.atomic
def save_edits(sent: Mapping[str, str]) -> Edited:
    """Save what was chosen in a list, except where somebody else was quicker.

    Raises:
        UnknownModelError: a model has been removed this very moment; nothing has changed.
    """
    edited = Edited()
    chosen = list(edits(sent))
    if not chosen:
        return edited
    locked_rules()  # nobody else decides of a model from here on
    models = DiscoveredModel.objects.in_bulk({edit.pk for edit in chosen})
    columns: dict[int, set[str]] = defaultdict(set)
    for edit in chosen:
        model = models.get(edit.pk)
        if model is None:
            edited.left.append("A model of this list has been removed meanwhile.")
        elif why := _why_not(edit, model):
            edited.left.append(why)
        elif edit.override.word(model) != edit.chosen:
            setattr(model, edit.override.column, edit.override.values[edit.chosen])
            columns[edit.pk].add(edit.override.column)
    alike: dict[tuple[str, ...], list[DiscoveredModel]] = defaultdict(list)
    for pk, names in columns.items():
        alike[tuple(sorted(names))].append(models[pk])
    for names_, rows in alike.items():
        save_overrides(rows, columns=names_)
        edited.models.extend(rows)
    return edited


@transaction.atomic
def override_many(
    models: list[DiscoveredModel], override: Override, word: str
) -> list[DiscoveredModel]:
    """Set an override of many models at once; return those of which that was news.

    Raises:
        UnknownModelError: a model has been removed meanwhile; nothing has changed.
    """
    locked_rules()
    changed = [
        model
        for model in DiscoveredModel.objects.filter(pk__in=[model.pk for model in models])
        if override.applies_to(model) and override.word(model) != word
    ]
    for model in changed:
        setattr(model, override.column, override.values[word])
    save_overrides(changed, columns=[override.column])
    return changed


def _why_not(edit: Edit, model: DiscoveredModel) -> str:
    """Return why a choice is not taken over, as a sentence; empty if it is."""
    if not edit.override.applies_to(model):
        return f"{model.display_name} has no tier: its kind is {model.kind}."
    now = edit.override.word(model)
    if now in (edit.shown, edit.chosen):
        return ""
    return (
        f"{edit.override.label} of {model.display_name} was left as it is: somebody else has "
        f"set it to {now} meanwhile. Choose again if you want {edit.chosen} all the same."
    )
