"""The request log and the sums of usage in the admin: read, and its requests labelled."""

from functools import cached_property
from typing import Any, TypeVar, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db.models import Model, OuterRef, Q, QuerySet, Subquery
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.models import Tier
from servers_app import requests
from servers_app.apikey_models import ApiKey
from servers_app.complexity.scores import Score
from servers_app.complexity.scoring import explain
from servers_app.figures import span
from servers_app.gateway.access import user_id
from servers_app.models import Server
from servers_app.node_admin import ShownAdmin
from servers_app.request_models import RequestOutcome, RequestRecord, UsageMinute

M = TypeVar("M", bound=Model)

LISTED = 10_000  # of those that are found, the newest: nobody turns more pages
PATHS = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
    "/v1/messages", "/v1/rerank", "/api/query",
)  # fmt: skip
COLOURS = {
    RequestOutcome.OK: "ready",
    RequestOutcome.REFUSED: "starting",
    RequestOutcome.FAILED: "failed",
    RequestOutcome.BROKEN: "failed",
    RequestOutcome.CLIENT_GONE: "stopped",
}
FACTORS = """
<table><thead><tr><th scope="col">Factor</th><th scope="col">Of the score</th>
<th scope="col">It is</th></tr></thead>
<tbody>{}</tbody></table>
"""


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


class ModelFilter(admin.SimpleListFilter):
    """The models that have had a server: to ask the log itself would read all of it."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        ids = Server.objects.order_by("model__model_id").values_list(
            "model__model_id", flat=True
        )
        return [(model_id, model_id) for model_id in ids.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model_id=self.value()) if self.value() else queryset


class PathFilter(admin.SimpleListFilter):
    title = "path"
    parameter_name = "path"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(path, path) for path in PATHS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(path=self.value()) if self.value() else queryset


class LabelFilter(admin.SimpleListFilter):
    title = "label"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any"), *((tier.value, str(tier.label)) for tier in Tier)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        labelled = queryset.exclude(label="")  # in the index's words
        return labelled if self.value() == "any" else labelled.filter(label=self.value())


@admin.register(RequestRecord)
class RequestAdmin(AskedAdmin[RequestRecord]):
    """What became of each request. People say which tier should have answered, and no more."""

    list_display = (
        "when",
        "outcome_badge",
        "asked",
        "model_id",
        "tier_shown",
        "label",
        "tokens",
        "queued",
        "first_byte",
        "total",
        "asker",
        "path",
    )
    list_filter = ("at", "outcome", "tier", LabelFilter, ModelFilter, PathFilter)
    sortable_by = ("when",)  # by another column all of the log would be sorted
    list_max_show_all = 0
    paginator = NewestPaginator
    search_fields = ("request_id", "key")
    search_help_text = "The whole id of a request, or the name or the prefix of an API key."
    actions = ("label_fast", "label_balanced", "label_powerful", "take_label_back")
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    (
                        "when",
                        "outcome_badge",
                        "status",
                        "error_code",
                        "request_id",
                        "asker",
                        "path",
                        "is_stream",
                    ),
                )
            },
        ),
        (
            "Choice",
            {
                "fields": (
                    ("asked", "model_id", "tier_shown", "server_id", "node"),
                    "factors_shown",
                    "label",
                )
            },
        ),
        ("Figures", {"fields": (("queued", "first_byte", "total", "tokens"),)}),
        ("Prompt", {"fields": ("prompt_shown",)}),
    )

    # -- what is shown

    @admin.display(description="When", ordering="at")
    def when(self, obj: RequestRecord) -> str:
        return f"{timezone.localtime(obj.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Outcome")
    def outcome_badge(self, obj: RequestRecord) -> SafeString:
        outcome = RequestOutcome(obj.outcome)
        badge = '<span class="magi-badge magi-{}">{}</span> {}'
        return format_html(badge, COLOURS[outcome], outcome.label, obj.error_code)

    @admin.display(description="Tier and score")
    def tier_shown(self, obj: RequestRecord) -> str:
        score = "" if obj.score is None else f"{obj.score:.1f}"
        return " ".join(filter(None, (obj.get_tier_display(), score))) or "-"

    @admin.display(description="Tokens in (cached) / out")
    def tokens(self, obj: RequestRecord) -> str:
        cached = f" ({obj.cached_tokens:,})" if obj.cached_tokens else ""
        return f"{_whole(obj.prompt_tokens)}{cached} / {_whole(obj.completion_tokens)}"

    @admin.display(description="Waited")
    def queued(self, obj: RequestRecord) -> str:
        return _span(obj.queued_ms)

    @admin.display(description="First byte")
    def first_byte(self, obj: RequestRecord) -> str:
        return _span(obj.first_byte_ms)

    @admin.display(description="Total")
    def total(self, obj: RequestRecord) -> str:
        return _span(obj.total_ms)

    @admin.display(description="Complexity")
    def factors_shown(self, obj: RequestRecord) -> str:
        if obj.score is None:
            return "It was not looked at: the request named its model or tier."
        parts = explain(Score(obj.score, obj.scored_by, obj.factors))
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            ((name, f"{points:g}", words) for name, points, words in parts),
        )
        score = f"{obj.score:.1f} of 10, by {obj.scored_by or 'nobody'}"
        return format_html("{}{}", score, format_html(FACTORS, rows) if parts else "")

    @admin.display(description="Asked last")
    def prompt_shown(self, obj: RequestRecord) -> SafeString:
        prompt = obj.prompt or "It was not kept: MAGI_KEEP_PROMPTS was off."
        return format_html('<pre class="magi-log">{}</pre>', prompt)

    def get_readonly_fields(
        self, request: HttpRequest, obj: RequestRecord | None = None
    ) -> list[str]:
        return [name for name in flatten_fieldsets(self.fieldsets) if name != "label"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RequestRecord], search_term: str
    ) -> tuple[QuerySet[RequestRecord], bool]:
        # Exactly: Django's own search compares no column as an index has it.
        term = search_term.strip()
        if not term:
            return queryset, False
        prefixes = ApiKey.objects.filter(name=term).values_list("prefix", flat=True)
        asked_by = Q(key__in=[term, user_id(term), *prefixes])
        return queryset.filter(Q(request_id=term) | asked_by), False

    # -- what people say

    def has_change_permission(
        self, request: HttpRequest, obj: RequestRecord | None = None
    ) -> bool:
        return request.user.has_perm("servers_app.change_requestrecord")

    def save_model(
        self,
        request: HttpRequest,
        obj: RequestRecord,
        form: ModelForm[RequestRecord],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        label = Tier(obj.label) if obj.label else None
        requests.relabel(RequestRecord.objects.filter(pk=obj.pk), label)

    @admin.action(description="Label: fast should have answered", permissions=["change"])
    def label_fast(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> None:
        self._label(request, queryset, Tier.FAST)

    @admin.action(description="Label: balanced should have answered", permissions=["change"])
    def label_balanced(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> None:
        self._label(request, queryset, Tier.BALANCED)

    @admin.action(description="Label: powerful should have answered", permissions=["change"])
    def label_powerful(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> None:
        self._label(request, queryset, Tier.POWERFUL)

    @admin.action(description="Take the label back", permissions=["change"])
    def take_label_back(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> None:
        self._label(request, queryset, None)

    def _label(
        self, request: HttpRequest, queryset: QuerySet[RequestRecord], label: Tier | None
    ) -> None:
        count = requests.relabel(queryset, label)
        text = f"Labelled {count} as {label}." if label else f"No label any more: {count}."
        self.message_user(request, text, messages.SUCCESS)


@admin.register(UsageMinute)
class UsageAdmin(AskedAdmin[UsageMinute]):
    list_display = (
        "minute",
        "model_id",
        "asker",
        "tier",
        "requests",
        "failures",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "first_byte",
        "total",
    )
    list_filter = ("minute", "tier", ModelFilter)
    list_max_show_all = 0
    paginator = NewestPaginator
    change_list_template = "admin/servers_app/usageminute/change_list.html"

    @admin.display(description="First byte, mean")
    def first_byte(self, obj: UsageMinute) -> str:
        return _span(obj.first_byte_ms / obj.answered) if obj.answered else "-"

    @admin.display(description="Total, mean")
    def total(self, obj: UsageMinute) -> str:
        return _span(obj.total_ms / obj.requests) if obj.requests else "-"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = response.context_data if isinstance(response, TemplateResponse) else None
        if context is not None and "cl" in context:
            context["days"] = requests.usage_by_day(context["cl"].queryset)
        return response


def _whole(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _span(ms: float | None) -> str:
    """Return a span of milliseconds: `0.4 ms`, `12 ms`, `3.2 s`."""
    if ms is None:
        return "-"
    if ms >= 1000:
        return span(ms / 1000)
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
