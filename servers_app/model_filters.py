"""Which models a list call shows, and in which order."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import Case, Exists, F, IntegerField, OuterRef, Q, QuerySet, Value, When
from rest_framework import serializers

from models_app.copies import has_files_on
from models_app.models import DiscoveredModel, ModelKind, Tier
from models_app.query_params import Choice, Text, TrueOrFalse, WholeNumber
from models_app.rules import EFFECTIVE_TIER
from profiles_app.models import ProfileMember

MAX_TEXT_CHARS: Final = 200
MAX_NODE_CHARS: Final = 100
MAX_PAGE_SIZE: Final = 1000
DEFAULT_PAGE_SIZE: Final = 100

_SEARCHED: Final = ("model_id", "display_name", "filename", "repo_id")
_ORDERS: Final = (
    "model_id",
    "display_name",
    "family",
    "size_params",
    "size_bytes",
    "memory_bytes",
    "context_length",
    "tier",
    "kind",
    "port",
    "discovered_at",
)
# From the quickest to the slowest, and then those that have none.
_TIER_RANK: Final = Case(
    *(When(effective_tier=tier, then=Value(rank)) for rank, tier in enumerate(Tier.values)),
    default=Value(len(Tier.values)),
    output_field=IntegerField(),
)


class ModelQuerySerializer(serializers.Serializer[Any]):
    """Which models, and in which order. What is not given filters nothing."""

    kind = Choice(ModelKind.values, required=False)
    family = Text(MAX_TEXT_CHARS, required=False, help_text="Upper and lower case are one.")
    enabled = TrueOrFalse(required=False, help_text="In the active profile.")
    missing = TrueOrFalse(required=False, help_text="Not seen by the last scan.")
    node = Text(
        MAX_NODE_CHARS, required=False, help_text="That has the files: its home, or a copy."
    )
    q = Text(
        MAX_TEXT_CHARS,
        required=False,
        help_text="Words that all stand in the id, the name, the file name or the repo.",
    )
    ordering = Choice(
        [sign + name for name in _ORDERS for sign in ("", "-")],
        required=False,
        help_text="Without it by id. Null comes last; `tier` goes from fast to powerful.",
    )


class RegistryQuerySerializer(ModelQuerySerializer):
    """The same, and a page of it: with one of the last two, the answer has `count`."""

    tier = Choice(Tier.values, required=False, help_text="The effective one.")
    page = WholeNumber(1, 10**9, required=False, help_text="Counted from 1.")
    page_size = WholeNumber(
        1, MAX_PAGE_SIZE, required=False, help_text=f"Without it, {DEFAULT_PAGE_SIZE}."
    )


def chosen_models(query: Mapping[str, Any]) -> QuerySet[DiscoveredModel]:
    """Return the models that `query`, as a serializer of this module has it, asks for."""
    models = DiscoveredModel.objects.annotate(effective_tier=EFFECTIVE_TIER)
    active = ProfileMember.objects.filter(
        profile__is_active=True, model_id=OuterRef("model_id")
    )
    if "enabled" in query:
        models = models.filter(Exists(active) if query["enabled"] else ~Exists(active))
    columns = {"tier": "effective_tier", "kind": "kind", "missing": "is_missing"}
    models = models.filter(
        **{column: query[name] for name, column in columns.items() if name in query}
    )
    if family := query.get("family"):
        models = models.filter(family__iexact=family)
    if node := query.get("node"):
        models = models.filter(has_files_on(node))
    for word in query.get("q", "").split():
        matches = Q()
        for name in _SEARCHED:
            matches |= Q(**{f"{name}__icontains": word})
        models = models.filter(matches)
    return _ordered(models, query.get("ordering", "model_id"))


def _ordered(models: QuerySet[DiscoveredModel], ordering: str) -> QuerySet[DiscoveredModel]:
    name = ordering.removeprefix("-")
    column = _TIER_RANK if name == "tier" else F(name)
    is_falling = ordering.startswith("-")
    order = column.desc(nulls_last=True) if is_falling else column.asc(nulls_last=True)
    return models.order_by(order, "model_id")
