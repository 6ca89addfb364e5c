"""The page of the admin on which a server is sent to another node, and what it asks for."""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse

from models_app.errors import ModelsError, QueueUnavailableError
from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from profiles_app.services import active_profile
from servers_app import services
from servers_app.errors import NotLaunchableError, ServersError
from servers_app.figures import span, title_of
from servers_app.following import WHEN_BACK
from servers_app.gateway.current import in_flight_of
from servers_app.lookup import require_node
from servers_app.models import Node, Server, Wanted
from servers_app.placing import nodes_with

WHY: Final = "in the admin"
PAGE: Final = "admin/servers_app/server/move.html"


class Choice(NamedTuple):
    """A node that a server may be sent to, or not, and why."""

    node: str
    note: str
    is_open: bool


def choices_for(model: DiscoveredModel, *, without: Collection[str] = ()) -> list[Choice]:
    """Return the nodes with the files of a model; none where there is no choice."""
    try:
        names = [node for node in nodes_with(model) if node not in without]
    except NotLaunchableError:
        return []
    rows = {row.name: row for row in Node.objects.filter(name__in=names)}
    return [_choice(name, rows.get(name)) for name in names]


def _choice(name: str, row: Node | None) -> Choice:
    if row is not None and row.is_cordoned:
        return Choice(name, "cordoned: it gets no new servers", is_open=False)
    if row is None or not row.is_alive:
        return Choice(name, "silent: it is started there when its worker is back", is_open=True)
    return Choice(name, "", is_open=True)


def move_view(
    model_admin: admin.ModelAdmin[Server], request: HttpRequest, pk: int
) -> HttpResponse:
    """Show where a server may go; send it there when somebody has chosen."""
    server = get_object_or_404(Server.objects.select_related("model__root"), pk=pk)
    if not model_admin.has_change_permission(request, server):
        raise PermissionDenied
    if request.method == "POST":
        return HttpResponseRedirect(_page_of(_moved(request, server) or server))
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "opts": Server._meta,
        "server": server,
        "title": f"{_verb(server)} {title_of(server)} on another node",
        "verb": _verb(server),
        "choices": choices_for(server.model, without=[server.node]),
        "sentences": _sentences(server),
        "back": _page_of(server),
    }
    return TemplateResponse(request, PAGE, context)


def _moved(request: HttpRequest, server: Server) -> Server | None:
    """Ask for it in the name of who is signed in; None where nothing came of it."""
    who = request.user.get_username()
    try:
        to = require_node(request.POST.get("to", ""))
        moved = services.request_move(server, to=to, who=who, why=WHY)
    except QueueUnavailableError as error:
        messages.warning(request, f"{error} {WHEN_BACK}")
    except (ServersError, ModelsError) as error:
        messages.error(request, f"Not done: {error}")
    else:
        messages.success(
            request, f"Moving {title_of(server)} from {server.node} to {moved.node}."
        )
        return moved
    return None


def _verb(server: Server) -> str:
    return "Move" if server.wanted == Wanted.RUNNING else "Start"


def _sentences(server: Server) -> list[str]:
    """Return what becomes of the server where it is."""
    if server.wanted != Wanted.RUNNING:
        return [f"On node {server.node} it stays stopped."]
    drain = span((active_profile() or Profile()).drain_seconds)
    flight = in_flight_of(server.pk) or 0
    requests = f"{flight} request{'' if flight == 1 else 's'} in flight"
    stops = f"It is stopped on node {server.node}, and started on the other one at once."
    may = f"{requests} may take up to {drain} more." if flight else "No request is in flight."
    return [stops, may]


def _page_of(server: Server) -> str:
    return reverse("admin:servers_app_server_change", args=[server.pk])
