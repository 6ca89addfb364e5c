"""Overrides of many models at once: the actions of their list."""

from collections.abc import Sequence
from typing import Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from models_app.errors import ModelsError
from models_app.models import DiscoveredModel, Tier
from models_app.override_fields import AUTO, THINKING, TIER, Override, override_many

MAX_AT_ONCE: Final = 500  # that one action changes: more would keep everybody else waiting
OVERRIDE_ACTIONS: Final = (
    "tier_fast",
    "tier_balanced",
    "tier_powerful",
    "thinking_on",
    "thinking_off",
    "thinking_auto",
    "overrides_off",
)


class OverrideActions(admin.ModelAdmin[DiscoveredModel]):
    """The part of the models' admin that decides of those that are selected."""

    @admin.action(description="Set the tier: fast", permissions=["change"])
    def tier_fast(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (TIER, Tier.FAST))

    @admin.action(description="Set the tier: balanced", permissions=["change"])
    def tier_balanced(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (TIER, Tier.BALANCED))

    @admin.action(description="Set the tier: powerful", permissions=["change"])
    def tier_powerful(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (TIER, Tier.POWERFUL))

    @admin.action(description="Thinking: on", permissions=["change"])
    def thinking_on(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (THINKING, "on"))

    @admin.action(description="Thinking: off", permissions=["change"])
    def thinking_off(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (THINKING, "off"))

    @admin.action(description="Thinking: auto, by the name", permissions=["change"])
    def thinking_auto(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (THINKING, AUTO))

    @admin.action(description="Take all overrides off", permissions=["change"])
    def overrides_off(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        self._override(request, queryset, (TIER, AUTO), (THINKING, AUTO))

    def _override(
        self,
        request: HttpRequest,
        queryset: QuerySet[DiscoveredModel],
        *decisions: tuple[Override, str],
    ) -> None:
        models = self.selected(request, queryset)
        changed: dict[int, DiscoveredModel] = {}
        try:
            for override, word in decisions:
                changed |= {each.pk: each for each in override_many(models, override, word)}
        except ModelsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        without = [
            model
            for model in models
            if not any(override.applies_to(model) for override, _ in decisions)
        ]
        if without:
            text = f"Not changed, for their kind has no tier: {named(without)}."
            self.message_user(request, text, messages.WARNING)
        if models:
            count = f"{len(changed)} of {len(models)}"
            self.message_user(request, f"Saved the overrides of {count} models.")

    def selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> list[DiscoveredModel]:
        """Return what was selected; nothing, and a message, where that is too much."""
        models = list(queryset[: MAX_AT_ONCE + 1])
        if len(models) <= MAX_AT_ONCE:
            return models
        text = f"Nothing was changed: select {MAX_AT_ONCE} models at most at a time."
        self.message_user(request, text, messages.ERROR)
        return []


def named(models: Sequence[DiscoveredModel], most: int = 4) -> str:
    """Return some names, and how many more there are."""
    names = [model.display_name for model in models[:most]]
    if more := len(models) - len(names):
        names.append(f"{more} more")
    return ", ".join(names)
