"""Servers in the admin: what is wanted, what is, and the buttons that ask for something."""

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString

from models_app.errors import ModelsError, QueueUnavailableError
from servers_app import services
from servers_app.errors import ServersError
from servers_app.figures import (
    at,
    loaded_percent,
    memory,
    span,
    title_of,
    uptime,
    what_happened,
)
from servers_app.following import WHEN_BACK, exit_text, last_lines, next_text, without_key
from servers_app.gateway.current import breaker_of
from servers_app.models import RUNNING, Server, ServerEvent, ServerState, Wanted


class Ask(NamedTuple):
    """Something to ask of a server: how a button and the answer call it."""

    label: str
    doing: str
    request: Callable[[Server, str], object]  # the server, with its model; who asks


def _start(server: Server, who: str) -> None:
    services.request_start(server.model, replica=server.replica, who=who, why=WHY)


def _restart(server: Server, who: str) -> None:
    services.request_restart(server, who=who, why=WHY)


def _stop(server: Server, who: str) -> None:
    services.request_stop(server, who=who, why=WHY)


def _stop_at_once(server: Server, who: str) -> None:
    services.request_stop(server, who=who, why=WHY, at_once=True)


ASKS = {
    "start": Ask("Start", "Starting", _start),
    "restart": Ask("Restart", "Restarting", _restart),
    "stop": Ask("Stop", "Stopping", _stop),
    "stop-at-once": Ask("Stop at once", "Stopping at once", _stop_at_once),
}
LOG_LINES = 200
SHOWN_EVENTS = 100
WHY = "in the admin"
EVENTS = """
<table class="magi-events"><thead><tr><th scope="col">When</th><th scope="col">What</th>
<th scope="col">After</th><th scope="col">Who</th><th scope="col">Why</th></tr></thead>
<tbody>{}</tbody></table>
"""


@admin.register(Server)
class ServerAdmin(admin.ModelAdmin[Server]):
    """What runs. A row is made when a model is first started; people only ask."""

    list_display = (
        "title",
        "state_badge",
        "wanted_shown",
        "port",
        "pid",
        "node",
        "uptime_shown",
        "memory_shown",
        "restarts",
        "note_shown",
        "buttons",
    )
    list_filter = ("state", "wanted", "node")
    list_select_related = ("model",)
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("model__model_id", "model__display_name", "node")
    actions = ("start_selected", "stop_selected", "stop_selected_at_once", "restart_selected")
    change_form_template = "admin/servers_app/server/change_form.html"
    fieldsets = (
        (
            "What is wanted",
            {
                "fields": (
                    (
                        "wanted_shown",
                        "asked_by",
                        "asked_why",
                        "requested_at",
                        "restart_requested_at",
                        "drain_until",
                    ),
                )
            },
        ),
        (
            "What is",
            {
                "fields": (
                    (
                        "state_badge",
                        "state_since",
                        "uptime_shown",
                        "note",
                        "model",
                        "replica",
                        "node",
                        "port",
                        "ready_at",
                        "last_used_at",
                        "health_at",
                        "progressed_at",
                        "circuit",
                        "restarts",
                        "next_start_at",
                    ),
                    "facts_shown",
                )
            },
        ),
        (
            "Process",
            {"fields": (("pid", "keeper_pid", "launched_at", "engine", "build", "boot_id"),)},
        ),
        ("Memory", {"fields": (("memory_counted", "memory_seen"),)}),
        ("Command line", {"fields": ("command_shown",)}),
        ("How it ended", {"fields": (("stopped_at", "exit_shown"), "error_shown")}),
        ("Log", {"fields": ("log_shown",)}),
        ("Events", {"fields": ("events_shown",)}),
    )

    # -- what is shown

    @admin.display(description="Model", ordering="model__display_name")
    def title(self, obj: Server) -> str:
        return title_of(obj)

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Server) -> SafeString:
        return state_badge(obj)

    @admin.display(description="Wanted", ordering="wanted")
    def wanted_shown(self, obj: Server) -> str:
        if obj.on_request and obj.wanted == Wanted.STOPPED:
            return "On request"
        return obj.get_wanted_display()

    @admin.display(description="Circuit breaker")
    def circuit(self, obj: Server) -> str:
        breaker = breaker_of(obj.pk)
        if breaker is None:
            return "closed"
        return f"{breaker.state.replace('_', ' ')}, {breaker.failures} failures in a row"

    @admin.display(description="Up for", ordering="launched_at")
    def uptime_shown(self, obj: Server) -> str:
        return uptime(obj)

    @admin.display(description="MiB", ordering="memory_mib")
    def memory_shown(self, obj: Server) -> str:
        return memory(obj)

    @admin.display(description="Counted at its launch")
    def memory_counted(self, obj: Server) -> str:
        return "-" if obj.memory_mib is None else f"{obj.memory_mib:,} MiB"

    @admin.display(description="Most that was seen")
    def memory_seen(self, obj: Server) -> str:
        return "-" if obj.peak_mib is None else f"{obj.peak_mib:,} MiB"

    @admin.display(description="Note or last error")
    def note_shown(self, obj: Server) -> str:
        return obj.note or without_key(obj.last_error.partition("\n")[0], obj)

    @admin.display(description="What it came to")
    def facts_shown(self, obj: Server) -> str:
        return (
            format_html("<pre>{}</pre>", json.dumps(obj.facts, indent=2)) if obj.facts else "-"
        )

    @admin.display(description="As it was launched last")
    def command_shown(self, obj: Server) -> str:
        if not obj.argv:
            return "It has not been launched yet."
        # Each part in one piece: a line that broke inside a flag could not be read.
        parts = format_html_join(
            " ", "<span>{}</span>", ((shlex.quote(part),) for part in obj.argv)
        )
        return format_html('<pre class="magi-command">{}</pre>', parts)

    @admin.display(description="Exit")
    def exit_shown(self, obj: Server) -> str:
        return exit_text(obj) or "-"

    @admin.display(description="Last error")
    def error_shown(self, obj: Server) -> SafeString:
        error = without_key(obj.last_error, obj) or "none"
        return format_html('<pre class="magi-log">{}</pre>', error)

    @admin.display(description=f"Last {LOG_LINES} lines")
    def log_shown(self, obj: Server) -> SafeString:
        text = last_lines(obj, LOG_LINES) or "empty"
        return format_html('<div class="magi-log-end"><pre>{}</pre></div>', text)

    @admin.display(description=f"Newest {SHOWN_EVENTS}")
    def events_shown(self, obj: Server) -> str:
        events = obj.events.all()[:SHOWN_EVENTS]
        return _events_table(events) if events else "none"

    @admin.display(description="")
    def buttons(self, obj: Server) -> str:
        """Buttons of the list's own form: POST, with its CSRF token."""
        url = reverse("admin:servers_app_server_ask", args=[obj.pk])
        return format_html_join(
            " ",
            '<button class="magi-ask" name="ask" value="{}" formmethod="post" formaction="{}">'
            "{}</button>",
            ((ask, url, ASKS[ask].label) for ask in asks_of(obj)),
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        if self.has_change_permission(request):
            return self.list_display
        return [name for name in self.list_display if name != "buttons"]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Servers", **(extra_context or {})})

    def get_readonly_fields(self, request: HttpRequest, obj: Server | None = None) -> list[str]:
        return flatten_fieldsets(self.fieldsets)

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
        asks = [*asks_of(server), *(["stop-at-once"] if server.state in RUNNING else [])]
        context = {
            "title": "Server",
            "trouble": _trouble(server),
            "asks": [(ask, ASKS[ask].label) for ask in asks],
            "ask_url": reverse("admin:servers_app_server_ask", args=[server.pk]),
            "events_url": reverse("admin:servers_app_serverevent_changelist")
            + f"?server__id__exact={server.pk}",
        }
        context |= extra_context or {}
        return super().change_view(request, object_id, form_url, context)

    # -- what is asked

    @admin.action(description="Start selected servers", permissions=["change"])
    def start_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        self._ask_each(request, queryset, "start")

    @admin.action(description="Stop selected servers", permissions=["change"])
    def stop_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        self._ask_each(request, queryset, "stop")

    @admin.action(
        description="Stop selected servers at once, cutting requests", permissions=["change"]
    )
    def stop_selected_at_once(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        self._ask_each(request, queryset, "stop-at-once")

    @admin.action(description="Restart selected servers", permissions=["change"])
    def restart_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        self._ask_each(request, queryset, "restart")

    def get_urls(self) -> list[URLPattern]:
        ask = path(
            "<int:pk>/ask/",
            self.admin_site.admin_view(self.ask_view),
            name="servers_app_server_ask",
        )
        return [ask, *super().get_urls()]

    def ask_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do what one of the buttons says, and go back to the page that it is on."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        server = get_object_or_404(Server, pk=pk)
        if not self.has_change_permission(request, server):  # admin_view asks only for staff
            raise PermissionDenied
        ask = request.POST.get("ask", "")
        if ask in ASKS:
            self._ask_each(request, Server.objects.filter(pk=pk), ask)
        else:
            names = ", ".join(ASKS)
            self.message_user(request, f"Ask for one of: {names}.", messages.ERROR)
        return HttpResponseRedirect(_page_before(request))

    def _ask_each(self, request: HttpRequest, queryset: QuerySet[Server], ask: str) -> None:
        who = request.user.get_username()
        for server in queryset.select_related("model__root"):
            try:
                ASKS[ask].request(server, who)
            except QueueUnavailableError as error:
                self.message_user(request, f"{error} {WHEN_BACK}", messages.WARNING)
            except (ServersError, ModelsError) as error:
                self.message_user(request, f"Not done: {error}", messages.ERROR)
            else:
                text = f"{ASKS[ask].doing} {title_of(server)}."
                self.message_user(request, text, messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return False


def state_badge(server: Server) -> SafeString:
    """Return the state, with a bar while a model is loaded as far as it says."""
    badge = format_html(
        '<span class="magi-badge magi-{}">{}</span>', server.state, server.get_state_display()
    )
    percent = loaded_percent(server)
    if percent is None:
        return badge
    bar = '{} <progress class="magi-load" max="100" value="{}">{} %</progress>'
    return format_html(bar, badge, percent, percent)


def asks_of(server: Server) -> list[str]:
    """Return what makes sense to ask of a server as it is."""
    if server.state == ServerState.FAILED:
        return ["start", "stop"] if server.wanted == Wanted.RUNNING else ["start"]
    if server.wanted == Wanted.RUNNING:
        return ["restart", "stop"]
    return ["start"]


def _trouble(server: Server) -> list[str]:
    """Return what is wrong with a server and what comes next, if anything is wrong."""
    if server.state == ServerState.FAILED:
        error = without_key(server.last_error, server) or "It left no reason."
        return [error, *filter(None, (exit_text(server), next_text(server)))]
    if server.state == ServerState.UNHEALTHY:
        return [
            without_key(server.last_error, server)
            or "It runs, but does not answer as it should.",
            "Restart it if that lasts; the log below may say why.",
        ]
    return []


def _events_table(events: Iterable[ServerEvent]) -> str:
    rows = format_html_join(
        "",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                at(event),
                what_happened(event),
                "-" if event.seconds is None else span(event.seconds),
                event.who or "-",
                event.why,
            )
            for event in events
        ),
    )
    return format_html(EVENTS, rows)


def _page_before(request: HttpRequest) -> str:
    before = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(before, {request.get_host()}):
        return before
    return reverse("admin:servers_app_server_changelist")
