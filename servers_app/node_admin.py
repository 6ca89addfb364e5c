"""What servers run on, in the admin: to be read, looked at again, and cordoned."""

from typing import Any, Final, TypeVar

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.errors import ModelsError
from models_app.queue import waiting_for
from servers_app.hardware_asks import request_look
from servers_app.hardware_page import page_of
from servers_app.models import Node, Server, ServerState, Wanted
from servers_app.node_list import COLOURS, NodeState, shown, state_of, with_counts
from servers_app.node_service import set_cordoned
from servers_app.server_page import moment

GIB = 2**30
MAY_MANAGE: Final = "servers_app.change_server"  # a look has all processors for a second

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
        "state_badge",
        "last_seen",
        "servers",
        "models",
        "version",
        "cores",
        "memory",
        "devices",
    )
    change_list_template = "admin/servers_app/node/change_list.html"
    change_form_template = "admin/servers_app/node/change_form.html"
    fields = readonly_fields = ("name",)  # no form: its page has a template of its own

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        node = self.get_object(request, object_id)
        if node is None:
            return super().change_view(request, object_id, form_url, extra_context)
        may_manage = request.user.has_perm(MAY_MANAGE)
        (each,) = shown([node])
        context = {
            "title": node.name,
            "subtitle": None,
            "badge": self.state_badge(node),
            "may_look": may_manage,
            "page": page_of(node, with_paths=may_manage),
            "shown": each,
            "servers": _servers_of(node),
            "waiting": waiting_for(node.name),
        }
        return super().change_view(
            request, object_id, form_url, context | (extra_context or {})
        )

    def get_urls(self) -> list[URLPattern]:
        look = path(
            "<int:pk>/look/",
            self.admin_site.admin_view(self.look_view),
            name="servers_app_node_look",
        )
        cordon = path(
            "<int:pk>/cordon/",
            self.admin_site.admin_view(self.cordon_view),
            name="servers_app_node_cordon",
        )
        return [look, cordon, *super().get_urls()]

    def look_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have the node's worker look at its machine again."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        node = get_object_or_404(Node, pk=pk)
        if not request.user.has_perm(MAY_MANAGE):  # admin_view asks only for staff
            raise PermissionDenied
        try:
            request_look(node.name)
        except ModelsError as error:
            self.message_user(request, f"Not looked at: {error}", messages.ERROR)
        else:
            text = f"Looking at node {node.name}: the page shows what is found in some seconds."
            self.message_user(request, text)
        return HttpResponseRedirect(reverse("admin:servers_app_node_change", args=[pk]))

    def cordon_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have no new servers placed on the node; servers again with `cordoned=false`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        node = get_object_or_404(Node, pk=pk)
        if not request.user.has_perm(MAY_MANAGE):
            raise PermissionDenied
        cordoned = request.POST.get("cordoned") != "false"
        set_cordoned(node.name, cordoned=cordoned, who=request.user.get_username())
        gets = "gets no new servers; those there stay" if cordoned else "gets servers again"
        self.message_user(request, f"Node {node.name} {gets}.")
        return HttpResponseRedirect(reverse("admin:servers_app_node_change", args=[pk]))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        return with_counts(super().get_queryset(request))

    @admin.display(description="State")
    def state_badge(self, obj: Node) -> SafeString:
        state = state_of(obj)
        badge = format_html(
            '<span class="magi-badge magi-{}">{}</span>', COLOURS[state], state.label
        )
        if state == NodeState.SILENT and obj.is_cordoned:
            return format_html("{} cordoned", badge)
        return badge

    @admin.display(description="Last seen", ordering="heartbeat_at")
    def last_seen(self, obj: Node) -> str:
        return moment(obj.heartbeat_at) or "never"

    @admin.display(description="Servers")
    def servers(self, obj: Node) -> int:
        return int(vars(obj)["servers_running"])

    @admin.display(description="Models")
    def models(self, obj: Node) -> int:
        return int(vars(obj)["models_home"]) + int(vars(obj)["models_copied"])

    @admin.display(description="MAGI")
    def version(self, obj: Node) -> str:
        version = str(obj.facts.get("version", ""))
        if not version or version == settings.MAGI_VERSION:
            return version or "-"
        badge = '<span class="magi-badge magi-starting" title="This is {}">{}</span>'
        return format_html(badge, settings.MAGI_VERSION, version)

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
        lines = ((gpu.get("name", "?"), _vram(gpu)) for gpu in gpus)
        return format_html_join("", "<div>{}: {}</div>", lines) or "none"


def _servers_of(node: Node) -> list[Server]:
    servers = Server.objects.select_related("model").filter(node=node.name)
    return list(
        servers.exclude(state=ServerState.STOPPED, wanted=Wanted.STOPPED)
        .defer("model__metadata", "log_tail", "argv")
        .order_by("model__display_name", "replica")
    )


def _vram(gpu: dict[str, Any]) -> str:
    return "the machine's" if gpu.get("shares_memory") else _gib(gpu, free="free_bytes")


def _gib(figures: dict[str, Any], *, free: str) -> str:
    total = figures.get("total_bytes")
    if not total:
        return "-"
    return f"{figures.get(free, 0) / GIB:.1f} / {total / GIB:.1f} GiB"
