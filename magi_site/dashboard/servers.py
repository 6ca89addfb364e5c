"""The servers on the dashboard: what each is, does, and can be asked for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.db.models import Q
from django.urls import reverse

from profiles_app.models import ProfileMember
from servers_app.figures import loaded_percent, title_of, uptime
from servers_app.following import error_line
from servers_app.models import Server, ServerState, Wanted
from servers_app.server_asks import ASKS, asks_of
from servers_app.server_page import slots_text

SHOWN: Final = 100
# What else can be asked of a server is asked on its page.
BUTTONS: Final = {"start": "Start", "restart": "Restart", "stop": "Stop"}
UNSEEN: Final = ("log_tail", "argv", "failed_at", "model__metadata", "model__file_signature")


class Button(NamedTuple):
    ask: str
    label: str
    explained: str


@dataclass(frozen=True, slots=True)
class ServerLine:
    server: Server
    title: str
    percent: int | None  # loaded, of one that starts and says so
    uptime: str
    slots: str
    speed: str
    note: str
    ask_url: str
    buttons: list[Button]


def servers_to_show() -> list[Server]:
    """Return those that run, or should, and those that the active profile has."""
    enabled = ProfileMember.objects.filter(profile__is_active=True).values("model_id")
    return list(
        Server.objects.select_related("model")
        .defer(*UNSEEN)
        .filter(
            ~Q(state=ServerState.STOPPED)
            | Q(wanted=Wanted.RUNNING)
            | Q(model__model_id__in=enabled)
        )
    )


def lines_of(servers: list[Server], speeds: Mapping[int, float]) -> list[ServerLine]:
    return [_line(server, speeds.get(server.pk)) for server in servers[:SHOWN]]


def _line(server: Server, speed: float | None) -> ServerLine:
    return ServerLine(
        server,
        title_of(server),
        loaded_percent(server),
        uptime(server),
        slots_text(server),
        "-" if speed is None else f"{speed:,.1f}",
        _note(server),
        reverse("admin:servers_app_server_ask", args=[server.pk]),
        [
            Button(ask, label, ASKS[ask].explained)
            for ask in asks_of(server)
            if (label := BUTTONS.get(ask))
        ],
    )


def _note(server: Server) -> str:
    if server.state == ServerState.STOPPED and server.on_request:
        return server.note or "The first request starts it."
    is_told = server.state in {ServerState.FAILED, ServerState.UNHEALTHY}
    return server.note or (error_line(server) if is_told else "")


def states_of(servers: list[Server]) -> Counter[str]:
    return Counter(server.state for server in servers)


def is_on_several_nodes(servers: list[Server]) -> bool:
    return len({server.node for server in servers}) > 1
