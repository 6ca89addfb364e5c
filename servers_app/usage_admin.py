"""Usage in the admin: charts and tables of its sums, the same as CSV, and the minutes."""

from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from models_app.charts import Chart, Series, figure
from servers_app import usage
from servers_app.figures import milliseconds
from servers_app.request_lists import AskedAdmin, ModelFilter, NewestPaginator
from servers_app.request_models import UsageMinute
from servers_app.usage import By, Line, Sums, Usage
from servers_app.usage_csv import csv_response

RANGES = {1: "24 hours", 14: "14 days", 30: "30 days", 90: "90 days", 365: "12 months"}
NAMELESS = {By.MODEL: "no model", By.KEY: "nobody known"}
REST_SHOWN = "the rest"
CHARTS = (
    ("Requests", "requests", ""),
    ("Failures", "failures", ""),
    ("Tokens in", "prompt_tokens", "tokens"),
    ("Tokens out", "completion_tokens", "tokens"),
)


class Choice(NamedTuple):
    label: str
    query: str
    is_current: bool


class Shown(NamedTuple):
    """A line of a table."""

    name: str
    key: str  # that the name is of
    url: str  # of its requests
    sums: Sums


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

    @admin.display(description="First byte, mean")
    def first_byte(self, obj: UsageMinute) -> str:
        return milliseconds(obj.first_byte_ms / obj.answered if obj.answered else None)

    @admin.display(description="Total, mean")
    def total(self, obj: UsageMinute) -> str:
        return milliseconds(obj.total_ms / obj.requests if obj.requests else None)

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "servers_app_usageminute"
        return [
            path("minutes/", view(self.minutes_view), name=f"{name}_minutes"),
            path("usage.csv", view(self.csv_view), name=f"{name}_csv"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the sums; the rows themselves have a page of their own."""
        self._require_view(request)
        days, by = _asked(request)
        summed = usage.usage_of(days, by)
        names = summed.named()
        context = {
            **self.admin_site.each_context(request),
            "title": "Usage",
            "opts": self.opts,
            "usage": summed,
            "by": by.value,
            "range": RANGES[days],
            "ranges": [
                Choice(label, urlencode({"days": each, "by": by}), each == days)
                for each, label in RANGES.items()
            ],
            "groupings": [
                Choice(label, urlencode({"days": days, "by": each}), each == by)
                for each, label in ((By.MODEL, "by model"), (By.KEY, "by key"))
            ],
            "query": urlencode({"days": days, "by": by}),
            "charts": _charts(summed, by, names, days),
            "tables": [
                ("By model", "Model", [_shown(line, By.MODEL, {}) for line in summed.by_model]),
                ("By key", "Asked by", [_shown(line, By.KEY, names) for line in summed.by_key]),
            ],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/servers_app/usageminute/usage.html", context)

    def minutes_view(self, request: HttpRequest) -> HttpResponse:
        return super().changelist_view(request, {"title": "Usage by minute"})

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        self._require_view(request)
        return csv_response(request, *_asked(request))

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):  # admin_view asks only for staff
            raise PermissionDenied


def _asked(request: HttpRequest) -> tuple[int, By]:
    """Return for how many days, and by what; what nobody offers is as if it was not said."""
    days, by = request.GET.get("days", ""), request.GET.get("by", "")
    is_offered = days in map(str, usage.DAYS)
    return (
        int(days) if is_offered else usage.DEFAULT_DAYS,
        By(by) if by in set(By) else By.MODEL,
    )


def _charts(summed: Usage, by: By, names: dict[str, str], days: int) -> list[Chart]:
    labels = [_label(stretch.start, days) for stretch in summed.stretches]
    has_rest = any(usage.REST in part for part in summed.parts)
    shown = [*summed.top, usage.REST] if has_rest else summed.top
    return [
        Chart(
            title,
            labels,
            [
                Series(
                    _name(name, by, names),
                    [
                        getattr(part[name], field) if name in part else None
                        for part in summed.parts
                    ],
                )
                for name in shown
            ],
            kind="bars",
            unit=unit,
            summary=f"{figure(getattr(summed.total, field))} in all",
        )
        for title, field, unit in CHARTS
    ]


def _label(start: datetime, days: int) -> str:
    if days == usage.BY_MONTH:
        return f"{start:%Y-%m}"
    return f"{timezone.localtime(start):%H:%M}" if days == 1 else f"{start:%m-%d}"


def _shown(line: Line, by: By, names: dict[str, str]) -> Shown:
    page = reverse("admin:servers_app_requestrecord_changelist")
    param = "model" if by is By.MODEL else "q"
    has_page = line.name not in ("", usage.REST)
    return Shown(
        _name(line.name, by, names),
        line.name if line.name in names else "",
        f"{page}?{urlencode({param: line.name})}" if has_page else "",
        line.sums,
    )


def _name(name: str, by: By, names: dict[str, str]) -> str:
    if name == usage.REST:
        return REST_SHOWN
    return names.get(name, name) or NAMELESS[by]
