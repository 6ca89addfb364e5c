"""The request log in the admin: read as it grows, and its requests labelled."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms import Media, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.models import Tier
from servers_app import request_page, requests
from servers_app.apikey_models import ApiKey
from servers_app.figures import milliseconds
from servers_app.gateway.access import user_id
from servers_app.request_lists import (
    LISTED,
    AskedAdmin,
    LabelFilter,
    LiveFilter,
    ModelFilter,
    NewestPaginator,
    OutcomeFilter,
    PathFilter,
    SinceFilter,
    TierFilter,
)
from servers_app.request_models import RequestOutcome, RequestRecord

COLOURS = {
    RequestOutcome.OK: "ready",
    RequestOutcome.REFUSED: "starting",
    RequestOutcome.FAILED: "failed",
    RequestOutcome.BROKEN: "failed",
    RequestOutcome.CLIENT_GONE: "stopped",
}
LABEL_BUTTON = '<button name="label" value="{} {}" aria-label="{}" title="{}"{}>{}</button>'
PRESSED = SafeString(' aria-pressed="true"')


@admin.register(RequestRecord)
class RequestAdmin(AskedAdmin[RequestRecord]):
    """What became of each request. People say which tier should have answered, and no more."""

    list_display = (
        "when",
        "outcome_badge",
        "asked_shown",
        "tier_shown",
        "label_shown",
        "tokens",
        "queued",
        "first_byte",
        "total",
        "asker",
        "path_shown",
    )
    list_filter = (
        SinceFilter,
        OutcomeFilter,
        ("tier", TierFilter),
        LabelFilter,
        LiveFilter,
        ModelFilter,
        PathFilter,
    )
    sortable_by = ("when",)  # by another column all of the log would be sorted
    list_max_show_all = 0
    paginator = NewestPaginator
    search_fields = ("request_id", "key")
    search_help_text = "The whole id of a request, or the name or the prefix of an API key."
    actions = ("label_fast", "label_balanced", "label_powerful", "take_label_back")
    actions_selection_counter = False
    fields = ("label",)

    @property
    def media(self) -> Media:
        # Django's script for the actions knows only of the rows that were there at first;
        # ours is named by the templates.
        return Media()

    # -- what is shown

    @admin.display(description="When", ordering="at")
    def when(self, obj: RequestRecord) -> SafeString:
        at = timezone.localtime(obj.at)
        is_today = at.date() == timezone.localdate()
        return format_html(
            '<time id="request-{}" title="{}">{}</time>',
            obj.pk,
            f"{at:%Y-%m-%d %H:%M:%S}",
            f"{at:%H:%M:%S}" if is_today else f"{at:%m-%d %H:%M:%S}",
        )

    @admin.display(description="Outcome")
    def outcome_badge(self, obj: RequestRecord) -> SafeString:
        outcome = RequestOutcome(obj.outcome)
        badge = '<span class="magi-badge magi-{}">{}</span> {}'
        return format_html(badge, COLOURS[outcome], outcome.label, obj.error_code)

    @admin.display(description="Asked for → model")
    def asked_shown(self, obj: RequestRecord) -> str:
        if obj.asked == obj.model_id:
            return obj.model_id or "-"
        return f"{obj.asked or '-'} → {obj.model_id or 'none'}"

    @admin.display(description="Tier and score")
    def tier_shown(self, obj: RequestRecord) -> str:
        score = "" if obj.score is None else f"{obj.score:.1f}"
        return " ".join(filter(None, (obj.get_tier_display(), score))) or "-"

    @admin.display(description="Label")
    def label_shown(self, obj: RequestRecord) -> str:
        return obj.get_label_display() or "-"

    @admin.display(description="Label")
    def label_buttons(self, obj: RequestRecord) -> SafeString:
        """Buttons of the list's own form; the one that is pressed takes its label back."""
        buttons = format_html_join(
            "",
            LABEL_BUTTON,
            (
                (
                    obj.pk,
                    "none" if tier == obj.label else tier,
                    tier.label,
                    f"{tier.label} should have answered",
                    PRESSED if tier == obj.label else "",
                    str(tier.label)[0],
                )
                for tier in Tier
            ),
        )
        return format_html('<span class="activity-label">{}</span>', buttons)

    @admin.display(description="In (cached) / out")
    def tokens(self, obj: RequestRecord) -> str:
        cached = f" ({obj.cached_tokens:,})" if obj.cached_tokens else ""
        return f"{_whole(obj.prompt_tokens)}{cached} / {_whole(obj.completion_tokens)}"

    @admin.display(description="Waited")
    def queued(self, obj: RequestRecord) -> str:
        return milliseconds(obj.queued_ms)

    @admin.display(description="First byte")
    def first_byte(self, obj: RequestRecord) -> str:
        return milliseconds(obj.first_byte_ms)

    @admin.display(description="Total")
    def total(self, obj: RequestRecord) -> str:
        return milliseconds(obj.total_ms)

    @admin.display(description="Path")
    def path_shown(self, obj: RequestRecord) -> str:
        path = obj.path.removeprefix("/v1/")
        return f"{path}, stream" if obj.is_stream else path

    def get_list_display(self, request: HttpRequest) -> Any:
        if not self.has_change_permission(request):
            return self.list_display
        return [
            "label_buttons" if name == "label_shown" else name for name in self.list_display
        ]

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

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST" and "label" in request.POST:
            return self._label_row(request)
        response = super().changelist_view(request, extra_context)
        context = response.context_data if isinstance(response, TemplateResponse) else None
        if context is not None and "cl" in context:
            cl = context["cl"]
            is_newest_first = cl.page_num == 1 and cl.params.get("o", "-1") != "1"
            context["is_live"] = is_newest_first and cl.params.get("live") != "0"
            context["sums"] = requests.sums_of(cl.queryset, limit=LISTED)
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        record = self.get_object(request, object_id)
        context: dict[str, Any] = {"title": "Request"}
        if record is not None and self.has_view_permission(request, record):
            context["log"] = request_page.shown(record, request.user)
            context["badge"] = COLOURS[RequestOutcome(record.outcome)]
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

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

    def response_change(self, request: HttpRequest, obj: RequestRecord) -> HttpResponse:
        """Stay: who labels reads on, to the request before it."""
        text = f"Labelled as {obj.label}." if obj.label else "The label was taken back."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(request.get_full_path())

    def _label_row(self, request: HttpRequest) -> HttpResponse:
        """Label the row whose button was pressed, and go back to it."""
        if not self.has_change_permission(request):  # admin_view asks only for staff
            raise PermissionDenied
        number, _, label = request.POST["label"].partition(" ")
        if not number.isdecimal() or label not in {"none", *Tier.values}:
            self.message_user(request, "Not labelled: no such label.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        records = RequestRecord.objects.filter(pk=number)
        if not requests.relabel(records, None if label == "none" else Tier(label)):
            self.message_user(
                request, "Not labelled: the request is not kept any more.", messages.ERROR
            )
        return HttpResponseRedirect(f"{request.get_full_path()}#request-{number}")

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


def _whole(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
