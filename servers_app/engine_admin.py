"""What each llama-server can do, in the admin: only to be read."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from profiles_app.engines import EMBEDDED
from servers_app.models import EngineBuild
from servers_app.node_admin import ShownAdmin

NEXT = "Mend or replace that program, then start a server: it is asked again."


@admin.register(EngineBuild)
class EngineBuildAdmin(ShownAdmin[EngineBuild]):
    list_display = (
        "engine",
        "node",
        "verdict",
        "build",
        "version",
        "devices_shown",
        "asked_at",
    )
    list_filter = ("node",)
    search_fields = ("path", "version", "commit")
    change_list_template = "admin/servers_app/enginebuild/change_list.html"
    change_form_template = "admin/servers_app/enginebuild/change_form.html"
    readonly_fields = ("engine", "verdict", "devices_shown", "flags_shown")
    fields = (
        ("engine", "node", "verdict"),
        ("version", "build", "commit"),
        "devices_shown",
        "asked_at",
        "flags_shown",
    )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Engines", **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"title": "Engine", **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description="Engine", ordering="path")
    def engine(self, obj: EngineBuild) -> str:
        return "The embedded engine" if obj.path == EMBEDDED else obj.path

    @admin.display(description="Devices")
    def devices_shown(self, obj: EngineBuild) -> str:
        lines = (
            (
                device.get("name", "?"),
                device.get("description", ""),
                f"{device.get('total_mib') or 0:,} MiB",
            )
            for device in obj.devices
        )
        return format_html_join("", "<div>{} {}, {}</div>", lines) or "the processor alone"

    @admin.display(description="Can it be used", ordering="problem")
    def verdict(self, obj: EngineBuild) -> SafeString:
        if not obj.problem:
            return format_html('<span class="magi-badge magi-ready">{}</span>', "Can be used")
        return format_html(
            '<span class="magi-badge magi-failed">Cannot be used</span> <div>{} {}</div>',
            _sentence(obj.problem),
            NEXT,
        )

    @admin.display(description="Flags that it knows")
    def flags_shown(self, obj: EngineBuild) -> str:
        lines = (f"{flag} {value}".rstrip() for flag, value in sorted(obj.flags.items()))
        return format_html('<pre class="magi-log">{}</pre>', "\n".join(lines) or "none")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
