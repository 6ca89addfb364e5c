"""What happened to servers, in the admin: only to be read."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from servers_app.figures import at, span, title_of
from servers_app.models import Server, ServerEvent
from servers_app.node_admin import ShownAdmin


class ShownEvent(NamedTuple):
    """An event as a line of a table."""

    pk: int
    at: str
    what: SafeString
    after: str
    who: str
    why: str


def shown_events(events: Iterable[ServerEvent]) -> list[ShownEvent]:
    return [
        ShownEvent(
            event.pk,
            at(event),
            what_text(event),
            "-" if event.seconds is None else span(event.seconds),
            event.who or "-",
            event.why,
        )
        for event in events
    ]


def what_text(event: ServerEvent) -> SafeString:
    """Return what a server became, or what somebody wanted of it; a note has its reason."""
    if not event.to_state:
        return format_html('<span class="magi-quiet">{}</span>', "note")
    if event.kind == ServerEvent.Kind.WANTED:
        return format_html('<span class="magi-quiet">wanted</span> {}', event.to_state)
    badge = format_html('<span class="magi-badge magi-{0}">{0}</span>', event.to_state)
    if not event.from_state:
        return badge
    return format_html('<span class="magi-quiet">{} →</span> {}', event.from_state, badge)


class BecameFilter(admin.AllValuesFieldListFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "what it became"


class WhenFilter(admin.DateFieldListFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "when"


@admin.register(ServerEvent)
class ServerEventAdmin(ShownAdmin[ServerEvent]):
    list_display = ("when", "server_link", "what", "after", "who", "why", "node")
    list_filter = ("kind", ("to_state", BecameFilter), "server__node", ("at", WhenFilter))
    list_display_links = None  # a line has all that there is of an event
    list_select_related = ("server__model",)
    search_fields = ("server__model__model_id", "server__model__display_name", "who", "why")
    change_list_template = "admin/servers_app/serverevent/change_list.html"
    readonly_fields = ("when", "server_link", "node", "what", "after")
    fields = (("when", "server_link", "node"), ("what", "after", "who"), "why")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        one = request.GET.get("server__id__exact", "")
        known = Server.objects.select_related("model")
        server = known.filter(pk=one).first() if one.isdecimal() else None
        title = f"Events of {title_of(server)}" if server else "Events"
        return super().changelist_view(
            request, {"title": title, "of_server": server, **(extra_context or {})}
        )

    @admin.display(description="When", ordering="at")
    def when(self, obj: ServerEvent) -> SafeString:
        return format_html('<span id="event-{}">{}</span>', obj.pk, at(obj))

    @admin.display(description="Server", ordering="server__model__display_name")
    def server_link(self, obj: ServerEvent) -> SafeString:
        page = reverse("admin:servers_app_server_change", args=[obj.server_id])
        return format_html('<a href="{}">{}</a>', page, title_of(obj.server))

    @admin.display(description="Node", ordering="server__node")
    def node(self, obj: ServerEvent) -> str:
        return obj.server.node

    @admin.display(description="What", ordering="to_state")
    def what(self, obj: ServerEvent) -> SafeString:
        return what_text(obj)

    @admin.display(description="After", ordering="seconds")
    def after(self, obj: ServerEvent) -> str:
        return "-" if obj.seconds is None else span(obj.seconds)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # A server's page links to its own events.
        return lookup == "server__id__exact" or super().lookup_allowed(lookup, value, request)
