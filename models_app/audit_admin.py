"""The audit in the admin: only to be read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.audit_models import Action, AuditEntry
from models_app.audit_targets import kinds, row_of

LISTED_FIELDS = 4  # of an entry, in the list; its page has all
MAX_LISTED_CHARS = 60  # of a value, in the list
FILTER = "admin/magi/filter_line.html"
CHANGES = """
<table class="magi-changes"><thead><tr>
<th scope="col">Field</th><th scope="col">Before</th><th scope="col">After</th>
</tr></thead><tbody>{}</tbody></table>
"""
COLOURS = {
    Action.DELETE: "failed",
    Action.REVOKE: "failed",
    Action.LOGIN_FAILED: "failed",
    Action.STOP: "starting",
    Action.DISABLE: "starting",
}


class FieldChange(NamedTuple):
    field: str  # with a dot for each step into it
    before: str
    after: str


def changes_of(entry: AuditEntry) -> list[FieldChange]:
    """Return what changed, a field each; what was or is not there is an empty text.

    Of two lists, that is what only one of them has, a line each.
    """
    before, after = dict(_flat(entry.before or {})), dict(_flat(entry.after or {}))
    names = sorted({*before, *after})  # PostgreSQL keeps no order
    return [_change(name, before, after) for name in names]


class ChoicesFilter(admin.ChoicesFieldListFilter):
    template = FILTER


class WhoFilter(admin.AllValuesFieldListFilter):
    template = FILTER


class KindFilter(admin.SimpleListFilter):
    template = FILTER
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in kinds()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        return queryset.filter(target_kind=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    list_display = ("when", "who", "via", "what", "target", "changes_listed")
    list_filter = (
        ("via", ChoicesFilter),
        ("who", WhoFilter),
        KindFilter,
        ("action", ChoicesFilter),
    )
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    date_hierarchy = "at"
    search_fields = ("who", "target_id", "target_name", "request_id")
    fields = (
        ("when", "who", "via", "what"),
        ("target_kind", "target_link", "target_id", "request_id"),
        "changes_shown",
    )

    @admin.display(description="When", ordering="at")
    def when(self, obj: AuditEntry) -> str:
        return f"{timezone.localtime(obj.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="What", ordering="action")
    def what(self, obj: AuditEntry) -> SafeString:
        action = Action(obj.action)
        badge = '<span class="magi-badge magi-{}">{}</span>'
        return format_html(badge, COLOURS.get(action, "tag"), action.label)

    @admin.display(description="Of", ordering="target_id")
    def target(self, obj: AuditEntry) -> str:
        return f"{obj.target_kind} {obj.called}"

    @admin.display(description="Of")
    def target_link(self, obj: AuditEntry) -> str:
        """Lead to what was changed, where it is there still and has a page."""
        row = row_of(obj.target_kind, obj.target_id)
        if row is None or not self.admin_site.is_registered(type(row)):
            return obj.called
        page = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(page, args=[row.pk]), obj.called)

    @admin.display(description="Before → after")
    def changes_listed(self, obj: AuditEntry) -> str:
        changes = changes_of(obj)
        rows = [
            FieldChange(each.field, _cut(each.before), _cut(each.after))
            for each in changes[:LISTED_FIELDS]
        ]
        if more := len(changes) - len(rows):
            rows.append(FieldChange(f"and {more} more", "", ""))
        return _table(rows) if rows else ""

    @admin.display(description="What changed")
    def changes_shown(self, obj: AuditEntry) -> str:
        changes = changes_of(obj)
        return _table(changes) if changes else "-"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit", **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"title": "Audit entry", **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # The history of a row is a list of its own entries.
        return lookup == "target_id" or super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: AuditEntry | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: AuditEntry | None = None
    ) -> bool:
        return False


def _flat(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        place = f"{where}.{name}" if where else name
        if isinstance(value, Mapping) and value:
            yield from _flat(value, place)
        else:
            yield place, value


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> FieldChange:
    old, new = before.get(name), after.get(name)
    if isinstance(old, list) and isinstance(new, list):
        gone = [item for item in old if item not in new]
        added = [item for item in new if item not in old]
        if gone or added:  # else it is the order that changed
            return FieldChange(name, _lines("-", gone), _lines("+", added))
    return FieldChange(
        name, _text(old) if name in before else "", _text(new) if name in after else ""
    )


def _lines(sign: str, items: list[Any]) -> str:
    return "\n".join(f"{sign} {_text(item)}" for item in items)


def _text(value: Any) -> str:
    return value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(changes: list[FieldChange]) -> SafeString:
    rows = format_html_join(
        "", '<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>', changes
    )
    return format_html(CHANGES, rows)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LISTED_CHARS else f"{text[:MAX_LISTED_CHARS]}…"
