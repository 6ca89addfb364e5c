"""The filters of the list of models. None has more choices than somebody reads."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from models_app.copies import has_files_on
from models_app.models import DiscoveredModel, ScanRoot, Tier

MAX_CHOICES: Final = 12
Choices = list[tuple[str, str]]


class TierFilter(admin.SimpleListFilter):
    """The effective tier: a person's, or that of the rules."""

    title = "tier"
    parameter_name = "tier"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [*((tier.value, str(tier.label)) for tier in Tier), ("none", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        tier = "" if self.value() == "none" else self.value()
        return queryset.filter(effective_tier=tier)


class OverrideFilter(admin.SimpleListFilter):
    title = "override"
    parameter_name = "override"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("tier", "Tier *"), ("thinking", "Thinking *")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "tier":
            return queryset.exclude(tier_override="")
        if self.value() == "thinking":
            return queryset.filter(thinking_override__isnull=False)
        return queryset


class NodeFilter(admin.SimpleListFilter):
    """The nodes that have the files, as home or as a copy; no filter where there is one."""

    title = "node"
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        roots = ScanRoot.objects.order_by("node").values_list("node", flat=True).distinct()
        nodes = list(roots[:MAX_CHOICES])
        return [(node, node) for node in nodes] if len(nodes) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        node = self.value()
        return queryset if node is None else queryset.filter(has_files_on(node))


class FilesFilter(admin.SimpleListFilter):
    title = "files"
    parameter_name = "files"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("found", "Found"), ("missing", "Missing"), ("broken", "Cannot run")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "found":
            return queryset.filter(is_missing=False, problem="")
        if self.value() == "missing":
            return queryset.filter(is_missing=True)
        return queryset.exclude(problem="") if self.value() == "broken" else queryset


class CommonFilter(admin.SimpleListFilter):
    """The most common values of a column; any other is found by the search."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        column = str(self.parameter_name)
        counted = (
            DiscoveredModel.objects.exclude(**{column: ""})
            .order_by()
            .values_list(column)
            .annotate(count=Count("pk"))
            .order_by("-count", column)
        )
        return [(value, value) for value, _ in counted[:MAX_CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.filter(**{str(self.parameter_name): self.value()})


class FamilyFilter(CommonFilter):
    title = "family"
    parameter_name = "family"


class QuantizationFilter(CommonFilter):
    title = "quantization"
    parameter_name = "quantization"
