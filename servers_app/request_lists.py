"""What the lists of requests and of usage have in common, and what requests are found by."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, TypeVar, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from models_app.models import Tier
from servers_app.apikey_models import ApiKey
from servers_app.models import Server
from servers_app.node_admin import ShownAdmin
from servers_app.request_models import FAILURES, RequestOutcome

M = TypeVar("M", bound=Model)

LISTED: Final = 10_000  # of those that are found, the newest: nobody turns more pages
PATHS: Final = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
    "/v1/messages", "/v1/rerank", "/api/query",
)  # fmt: skip
ERRORS: Final = (*FAILURES, RequestOutcome.REFUSED)
SINCE: Final = {
    "15m": ("15 min", timedelta(minutes=15)),
    "1h": ("Hour", timedelta(hours=1)),
    "24h": ("Day", timedelta(days=1)),
    "7d": ("Week", timedelta(days=7)),
}
ROW: Final = "admin/magi/filter_line.html"


class NewestPaginator(Paginator[Any]):
    """Counts and shows the newest LISTED rows alone, so that a page costs the same always."""

    @cached_property
    def count(self) -> int:
        # Of the rows alone: an annotation would be worked out for each.
        return cast("QuerySet[Any]", self.object_list).values("pk")[:LISTED].count()


class AskedAdmin(ShownAdmin[M]):
    """Rows whose `key` says who asked."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        key = ApiKey.objects.order_by().filter(prefix=OuterRef("key"))
        named = (
            super().get_queryset(request).annotate(key_name=Subquery(key.values("name")[:1]))
        )
        return cast("QuerySet[M]", named)

    @admin.display(description="Asked by")
    def asker(self, obj: M) -> str:
        """The name of a key and what it begins with, or else a user or an address."""
        key, name = getattr(obj, "key", ""), getattr(obj, "key_name", None)
        return format_html('<span title="{}">{}</span>', key, name) if name else key or "-"


class LineFilter(admin.SimpleListFilter):
    """A filter that takes one line of the list's head."""

    template = ROW
    column = ""
    every = "All"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        for number, choice in enumerate(super().choices(changelist)):
            yield choice if number else {**choice, "display": self.every}


class SinceFilter(LineFilter):
    title = "since"
    parameter_name = "since"
    every = "Always"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _) in SINCE.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        since = SINCE.get(self.value() or "")
        return queryset.filter(at__gte=timezone.now() - since[1]) if since else queryset


class OutcomeFilter(LineFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        outcomes = [(outcome.value, str(outcome.label)) for outcome in RequestOutcome]
        return [("errors", "Errors"), *outcomes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(
            outcome__in=ERRORS if self.value() == "errors" else [self.value()]
        )


class TierFilter(admin.ChoicesFieldListFilter):
    template = ROW


class LabelFilter(LineFilter):
    title = "label"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any"), *((tier.value, str(tier.label)) for tier in Tier)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        labelled = queryset.exclude(label="")  # in the index's words
        return labelled if self.value() == "any" else labelled.filter(label=self.value())


class ModelFilter(LineFilter):
    """The models that have had a server: to ask the log itself would read all of it."""

    title = "model"
    parameter_name = "model"
    column = "model_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        ids = Server.objects.order_by("model__model_id").values_list(
            "model__model_id", flat=True
        )
        return [(model_id, model_id) for model_id in ids.distinct()]


class PathFilter(LineFilter):
    title = "path"
    parameter_name = "path"
    column = "path"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(path, path) for path in PATHS]


class LiveFilter(LineFilter):
    """Whether new requests come into the list by themselves."""

    title = "live"
    parameter_name = "live"
    every = "Every 5 s"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("0", "Off")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset
