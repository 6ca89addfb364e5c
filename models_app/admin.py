from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from models_app.models import DiscoveredModel, ScanRoot


@admin.register(ScanRoot)
class ScanRootAdmin(admin.ModelAdmin[ScanRoot]):
    list_display = ("path", "kind", "node", "is_enabled", "last_scan_at", "last_error")
    list_filter = ("node", "kind", "is_enabled")
    search_fields = ("path",)
    readonly_fields = ("last_scan_at", "last_error")


@admin.register(DiscoveredModel)
class DiscoveredModelAdmin(admin.ModelAdmin[DiscoveredModel]):
    """What was found. People change the overrides and the notes, and nothing else."""

    list_display = (
        "name_and_badges",
        "size",
        "quantization",
        "tier_shown",
        "port",
        "status",
        "model_id",
    )
    list_filter = ("assigned_tier", "kind", "family", "is_missing")
    list_select_related = ("root",)
    list_per_page = 50
    search_fields = ("model_id", "display_name", "filename", "repo_id")
    show_full_result_count = False
    editable_fields = ("tier_override", "thinking_override", "notes")

    @admin.display(description="Model", ordering="display_name")
    def name_and_badges(self, obj: DiscoveredModel) -> str:
        badges = [
            label
            for label, holds in (
                ("CODER", obj.is_coder),
                ("INSTRUCT", obj.is_instruct),
                ("THINKING", obj.is_thinking),
                (obj.kind.upper(), obj.kind != "text"),
            )
            if holds
        ]
        tags = format_html_join(
            "", ' <span class="magi-badge magi-tag">{}</span>', ((badge,) for badge in badges)
        )
        return format_html("{}{}", obj.display_name, tags)

    @admin.display(description="Size", ordering="size_params")
    def size(self, obj: DiscoveredModel) -> str:
        return f"{obj.size_params:g}B" if obj.size_params is not None else "-"

    @admin.display(description="Tier", ordering="assigned_tier")
    def tier_shown(self, obj: DiscoveredModel) -> str:
        return (obj.tier or "-") + ("*" if obj.tier_override else "")

    @admin.display(description="Status", ordering="is_missing")
    def status(self, obj: DiscoveredModel) -> str:
        if obj.is_missing:
            return format_html('<span class="magi-badge magi-missing">{}</span>', "missing")
        if obj.problem:
            return format_html('<span class="magi-badge magi-failed">{}</span>', obj.problem)
        return format_html('<span class="magi-badge magi-stopped">{}</span>', "found")

    def get_readonly_fields(
        self, request: HttpRequest, obj: DiscoveredModel | None = None
    ) -> list[str]:
        names = [field.name for field in DiscoveredModel._meta.fields]
        return [name for name in names if name not in self.editable_fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # models are found, not typed in
