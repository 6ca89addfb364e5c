"""What servers run on, in the admin: only to be read."""

from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from servers_app.models import Node

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


def _gib(figures: dict[str, Any], *, free: str) -> str:
    total = figures.get("total_bytes")
    if not total:
        return "-"
    return f"{figures.get(free, 0) / GIB:.1f} / {total / GIB:.1f} GiB"
