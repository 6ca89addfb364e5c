"""Servers in the admin: what is wanted, what is, and the buttons that ask for something."""

import shlex
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.copy_models import ModelCopy
from models_app.page_before import page_before
from servers_app.event_admin import shown_events
from servers_app.figures import loaded_percent, title_of, uptime
from servers_app.following import error_line
from servers_app.models import RUNNING, Server
from servers_app.process_load import load_of
from servers_app.server_asks import (
    ASKS,
    GRAVE,
    ask_each,
    buttons,
    confirm,
    cut_by,
)
from servers_app.server_log import LOG_LINES, log_file, shown_log
from servers_app.server_move import move_view
from servers_app.server_page import (
    cards_of,
    cpu_text,
    moment,
    slots_text,
    trouble_of,
    wanted_text,
)

SHOWN_EVENTS = 30


@admin.register(Server)
class ServerAdmin(admin.ModelAdmin[Server]):
    """What runs. A row is made when a model is first started; people only ask."""

    list_display = (
        "title",
        "state_badge",
        "buttons",
        "slots_shown",
        "uptime_shown",
        "memory_shown",
        "cpu_shown",
        "port_shown",
        "restarts",
        "note_shown",
    )
    list_filter = ("state", "wanted", "node")
    list_select_related = ("model",)
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("model__model_id", "model__display_name", "node")
    actions = ("start_selected", "restart_selected", "stop_selected", "stop_selected_at_once")
    change_list_template = "admin/servers_app/server/change_list.html"
    change_form_template = "admin/servers_app/server/change_form.html"
    fields = readonly_fields = ("model",)  # no form: its page has a template of its own

    # -- the list

    @admin.display(description="Model", ordering="model__display_name")
    def title(self, obj: Server) -> SafeString:
        # The id keeps a row the same row when the list is looked at again in another order.
        return format_html('<span id="server-{}">{}</span>', obj.pk, title_of(obj))

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Server) -> SafeString:
        return _two_lines(state_badge(obj), f"wanted {wanted_text(obj).lower()}")

    @admin.display(description="Ask for")
    def buttons(self, obj: Server) -> SafeString:
        """Buttons of the list's own form: POST, with its CSRF token."""
        return all_buttons(obj, may_move=getattr(obj, "has_copies", False))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        copies = ModelCopy.objects.filter(model=OuterRef("model"), problem="")
        return super().get_queryset(request).annotate(has_copies=Exists(copies))

    @admin.display(description="Slots busy")
    def slots_shown(self, obj: Server) -> str:
        return slots_text(obj)

    @admin.display(description="Up for", ordering="launched_at")
    def uptime_shown(self, obj: Server) -> str:
        return uptime(obj)

    @admin.display(description="MiB counted", ordering="memory_mib")
    def memory_shown(self, obj: Server) -> SafeString:
        seen = "" if obj.peak_mib is None else f"seen {obj.peak_mib:,}"
        return _two_lines("-" if obj.memory_mib is None else f"{obj.memory_mib:,}", seen)

    @admin.display(description="CPU")
    def cpu_shown(self, obj: Server) -> str:
        return cpu_text(load_of(obj))

    @admin.display(description="Port / PID, node", ordering="port")
    def port_shown(self, obj: Server) -> SafeString:
        return _two_lines(f"{obj.port or '-'} / {obj.pid or '-'}", obj.node)

    @admin.display(description="Note or last error")
    def note_shown(self, obj: Server) -> str:
        return obj.note or error_line(obj)

    def get_list_display(self, request: HttpRequest) -> Any:
        if self.has_change_permission(request):
            return self.list_display
        return [name for name in self.list_display if name != "buttons"]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Servers", **(extra_context or {})})

    # -- the page of one

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        server = self.get_object(request, object_id)
        if server is None:
            return super().change_view(request, object_id, form_url, extra_context)
        events = reverse("admin:servers_app_serverevent_changelist")
        context = {
            "title": title_of(server),
            "subtitle": None,
            "badge": state_badge(server),
            "trouble": trouble_of(server),
            "buttons": all_buttons(server, may_move=getattr(server, "has_copies", False)),
            "cards": cards_of(server),
            "command": [shlex.quote(part) for part in server.argv],
            "log": shown_log(server),
            "log_lines": LOG_LINES,
            "runs": server.state in RUNNING,
            "events": shown_events(server.events.all()[:SHOWN_EVENTS]),
            "shown_events": SHOWN_EVENTS,
            "events_url": f"{events}?server__id__exact={server.pk}",
        }
        context |= extra_context or {}
        return super().change_view(request, object_id, form_url, context)

    def log_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Give the whole log as a file."""
        server = get_object_or_404(Server.objects.select_related("model"), pk=pk)
        if not self.has_view_permission(request, server):
            raise PermissionDenied
        return log_file(server)

    # -- what is asked

    @admin.action(description="Start selected servers", permissions=["change"])
    def start_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        ask_each(request, _whole(queryset), "start")

    @admin.action(description="Restart selected servers", permissions=["change"])
    def restart_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        ask_each(request, _whole(queryset), "restart")

    @admin.action(description="Drain and stop selected servers", permissions=["change"])
    def stop_selected(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        return self._stop_many(request, queryset, "stop")

    @admin.action(
        description="Stop selected servers at once, cutting requests", permissions=["change"]
    )
    def stop_selected_at_once(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        return self._stop_many(request, queryset, GRAVE)

    def _stop_many(
        self, request: HttpRequest, queryset: QuerySet[Server], ask: str
    ) -> HttpResponse | None:
        """Ask whether it is meant; do it when that was confirmed."""
        servers = _whole(queryset)
        if "confirmed" in request.POST:
            ask_each(request, servers, ask)
            return None
        sent = [("action", request.POST["action"])]
        sent += [("_selected_action", str(server.pk)) for server in servers]
        return confirm(request, servers, ask, sent=sent, back=request.get_full_path())

    def get_urls(self) -> list[URLPattern]:
        ours = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"servers_app_server_{name}",
            )
            for name, view in (
                ("ask", self.ask_view),
                ("log", self.log_view),
                ("move", self.move_view),
            )
        ]
        return [*ours, *super().get_urls()]

    def ask_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do what one of the buttons says, and go back to the page that it is on."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        server = get_object_or_404(Server.objects.select_related("model__root"), pk=pk)
        if not self.has_change_permission(request, server):  # admin_view asks only for staff
            raise PermissionDenied
        ask = request.POST.get("ask", "")
        back = page_before(request, "servers_app_server_changelist")
        if ask not in ASKS:
            names = ", ".join(ASKS)
            self.message_user(request, f"Ask for one of: {names}.", messages.ERROR)
        elif cut_by(ask, [server]) and "confirmed" not in request.POST:
            sent = [("ask", ask), ("next", back)]
            return confirm(request, [server], ask, sent=sent, back=back)
        else:
            ask_each(request, [server], ask)
        return HttpResponseRedirect(back)

    def move_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a server to another node."""
        return move_view(self, request, pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return False


def state_badge(server: Server) -> SafeString:
    """Return the state, with a bar while a model is loaded as far as it says."""
    badge = format_html(
        '<span class="magi-badge magi-{}">{}</span>', server.state, server.get_state_display()
    )
    if server.unreachable_since is not None:
        return format_html(
            '{} <span class="magi-badge magi-failed" title="{}">unreachable since {}</span>',
            badge,
            "Its node has not been heard of since: its state is of then.",
            moment(server.unreachable_since),
        )
    percent = loaded_percent(server)
    if percent is None:
        return badge
    bar = (
        '{} <progress class="magi-load" max="100" value="{}" aria-label="Loaded">'
        "{} %</progress>"
    )
    return format_html(bar, badge, percent, percent)


def all_buttons(server: Server, *, may_move: bool) -> SafeString:
    """Return the buttons for a server; with the one to another node, if it may go there."""
    name = "admin:servers_app_server_"
    move_url = reverse(f"{name}move", args=[server.pk]) if may_move else ""
    return buttons(server, reverse(f"{name}ask", args=[server.pk]), move_url=move_url)


def _two_lines(first: str, second: str) -> SafeString:
    return format_html('{}<div class="magi-quiet">{}</div>', first, second)


def _whole(queryset: QuerySet[Server]) -> list[Server]:
    """Return the servers with what a request for them needs of their models."""
    return list(queryset.select_related("model__root"))
