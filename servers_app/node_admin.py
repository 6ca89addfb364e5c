"""What servers run on and what happened to them, in the admin: only to be read."""

from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from servers_app.figures import at, span, title_of, what_happened
from servers_app.models import EngineBuild, Node, ServerEvent

GIB = 2**30

M = TypeVar("M", bound=Model)


class ShownAdmin(admin.ModelAdmin[M]):
    """Rows that MAGI writes, and nobody else."""

    show_full_result_count = False
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


@admin.register(ServerEvent)
class ServerEventAdmin(ShownAdmin[ServerEvent]):
    list_display = ("when", "server_link", "node", "what", "after", "who", "why")
    list_filter = ("kind", "to_state", "server__node", "at")
    list_select_related = ("server__model",)
    search_fields = ("server__model__model_id", "server__model__display_name", "who", "why")

    @admin.display(description="When", ordering="at")
    def when(self, obj: ServerEvent) -> str:
        return at(obj)

    @admin.display(description="Server", ordering="server__model__display_name")
    def server_link(self, obj: ServerEvent) -> SafeString:
        page = reverse("admin:servers_app_server_change", args=[obj.server_id])
        return format_html('<a href="{}">{}</a>', page, title_of(obj.server))

    @admin.display(description="Node", ordering="server__node")
    def node(self, obj: ServerEvent) -> str:
        return obj.server.node

    @admin.display(description="What", ordering="to_state")
    def what(self, obj: ServerEvent) -> str:
        return what_happened(obj)

    @admin.display(description="After", ordering="seconds")
    def after(self, obj: ServerEvent) -> str:
        return "-" if obj.seconds is None else span(obj.seconds)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # A server's page links to its own events.
        return lookup == "server__id__exact" or super().lookup_allowed(lookup, value, request)


@admin.register(Node)
class NodeAdmin(ShownAdmin[Node]):
    list_display = (
        "name",
        "address",
        "alive_badge",
        "heartbeat_at",
        "started_at",
        "cores",
        "memory",
        "devices",
    )
    fields = (
        ("name", "address", "alive_badge"),
        ("heartbeat_at", "started_at", "worker_pid"),
        "cores",
        "memory",
        "devices",
        "notes",
        "boot_id",
    )

    @admin.display(description="Worker")
    def alive_badge(self, obj: Node) -> SafeString:
        colour, text = ("ready", "Alive") if obj.is_alive else ("failed", "Not seen lately")
        return format_html('<span class="magi-badge magi-{}">{}</span>', colour, text)

    @admin.display(description="Processor")
    def cores(self, obj: Node) -> str:
        cores = obj.hardware.get("physical_cores")
        return f"{cores} cores, {obj.hardware.get('cpu', '')}" if cores else "-"

    @admin.display(description="Memory, free of all")
    def memory(self, obj: Node) -> str:
        return _gib(obj.hardware, free="available_bytes")

    @admin.display(description="GPUs, free of all")
    def devices(self, obj: Node) -> str:
        gpus: list[dict[str, Any]] = obj.hardware.get("gpus", [])
        lines = ((gpu.get("name", "?"), _gib(gpu, free="free_bytes")) for gpu in gpus)
        return format_html_join("", "<div>{}: {}</div>", lines) or "none"

    @admin.display(description="What could not be seen")
    def notes(self, obj: Node) -> str:
        notes = ((note,) for note in obj.hardware.get("notes", []))
        return format_html_join("", "<div>{}</div>", notes) or "nothing"


@admin.register(EngineBuild)
class EngineBuildAdmin(ShownAdmin[EngineBuild]):
    list_display = ("path", "node", "version", "build", "devices_shown", "verdict", "asked_at")
    list_filter = ("node",)
    search_fields = ("path", "version", "commit")
    fields = (
        ("path", "node"),
        ("version", "build", "commit"),
        "devices_shown",
        "problem",
        ("asked_at", "size_bytes"),
        "flags_shown",
    )

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

    @admin.display(description="Problem", ordering="problem")
    def verdict(self, obj: EngineBuild) -> SafeString:
        colour, text = ("failed", obj.problem) if obj.problem else ("ready", "none")
        return format_html('<span class="magi-badge magi-{}">{}</span>', colour, text)

    @admin.display(description="Flags that it knows")
    def flags_shown(self, obj: EngineBuild) -> str:
        lines = (f"{flag} {value}".rstrip() for flag, value in sorted(obj.flags.items()))
        return format_html('<pre class="magi-log">{}</pre>', "\n".join(lines) or "none")


def _gib(figures: dict[str, Any], *, free: str) -> str:
    total = figures.get("total_bytes")
    if not total:
        return "-"
    return f"{figures.get(free, 0) / GIB:.1f} / {total / GIB:.1f} GiB"
