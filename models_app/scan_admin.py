"""Scans in the admin: what each made of every file that it saw."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.audit_forms import delete_rows
from models_app.models import Scan, ScanState
from models_app.rescan_admin import RESCAN, rescan_context
from models_app.scan_report import by_reason, models_named

SCAN_COLOURS = {
    ScanState.RUNNING: "starting",
    ScanState.FINISHED: "ready",
    ScanState.FAILED: "failed",
    ScanState.INTERRUPTED: "failed",
}
NEXT_STEPS = {
    ScanState.RUNNING: "It is going on, or its process has died: the next scan tells.",
    ScanState.FAILED: "It failed: the worker's log says why. A rescan makes up for it.",
    ScanState.INTERRUPTED: "Its process died before its end. The next scan made up for it.",
}


def scan_badge(scan: Scan) -> SafeString:
    colour = SCAN_COLOURS[ScanState(scan.state)]
    badge = '<span class="magi-badge magi-{}">{}</span>'
    return format_html(badge, colour, scan.get_state_display())


@admin.register(Scan)
class ScanAdmin(admin.ModelAdmin[Scan]):
    """What each scan made of every file it saw."""

    change_list_template = "admin/models_app/scan/change_list.html"
    change_form_template = "admin/models_app/scan/change_form.html"
    list_display = (
        "started_at",
        "node",
        "state_badge",
        "files_seen",
        "time_taken",
        "added",
        "updated",
        "unchanged",
        "missing",
        "skipped",
    )
    list_filter = ("node", "state")
    list_per_page = 50
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    fields = list_display
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scan]:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("changelist")
        return queryset.defer("report") if is_list else queryset

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Scan) -> str:
        return scan_badge(obj)

    @admin.display(description="Time", ordering="seconds")
    def time_taken(self, obj: Scan) -> str:
        if obj.seconds is None:
            return "-"
        return f"{obj.seconds:.2f} s ({obj.files_per_second or 0:,.0f} files/s)"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "title": "Scans",
            "may_rescan": request.user.has_perm(RESCAN),
            **rescan_context(request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def get_urls(self) -> list[URLPattern]:
        report = path(
            "<int:pk>/report.json",
            self.admin_site.admin_view(self.report_view),
            name="models_app_scan_report",
        )
        return [report, *super().get_urls()]

    def report_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the whole report, as `manage.py rescan --json` prints it."""
        scan = get_object_or_404(Scan, pk=pk)
        if not self.has_view_permission(request, scan):
            raise PermissionDenied
        name = f"magi-scan-{scan.pk}.json"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return JsonResponse(scan.report, headers=headers, json_dumps_params={"indent": 2})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        scan = self.get_object(request, object_id)
        context = extra_context or {}
        if scan is not None:
            context = {
                "title": f"Scan of {scan.node}",
                "subtitle": None,
                "badge": scan_badge(scan),
                "time_taken": self.time_taken(scan),
                "next_step": NEXT_STEPS.get(ScanState(scan.state), ""),
                "groups": by_reason(scan.report.get("skipped", [])),
                "named": models_named(scan.report),
                "report": scan.report,
                **context,
            }
        return super().change_view(request, object_id, form_url, context)

    def delete_model(self, request: HttpRequest, obj: Scan) -> None:
        self.delete_queryset(request, Scan.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Scan]) -> None:
        delete_rows(queryset, told=("node", "state", "started_at"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Scan | None = None) -> bool:
        return False
