"""What people ask of servers in the admin: the buttons, and what has to be confirmed first."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from django.contrib import admin, messages
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.errors import ModelsError, QueueUnavailableError
from profiles_app.models import Profile
from profiles_app.services import active_profile
from servers_app import services
from servers_app.errors import ServersError
from servers_app.figures import span, title_of
from servers_app.following import WHEN_BACK
from servers_app.gateway.current import in_flight_of
from servers_app.models import RUNNING, Server, ServerState, Wanted

WHY: Final = "in the admin"
CONFIRM: Final = "admin/servers_app/server/confirm.html"


class Ask(NamedTuple):
    """Something to ask of a server: how a button and the answer call it."""

    label: str
    doing: str
    explained: str
    request: Callable[[Server, str], object]  # the server, with its model; who asks


def _start(server: Server, who: str) -> None:
    services.request_start(
        server.model, replica=server.replica, node=server.node, who=who, why=WHY
    )


def _restart(server: Server, who: str) -> None:
    services.request_restart(server, who=who, why=WHY)


def _stop(server: Server, who: str) -> None:
    services.request_stop(server, who=who, why=WHY)


def _stop_at_once(server: Server, who: str) -> None:
    services.request_stop(server, who=who, why=WHY, at_once=True)


ASKS: Final = {
    "start": Ask("Start", "Starting", "Launches it, and keeps it running.", _start),
    "restart": Ask(
        "Restart",
        "Restarting",
        "Lets requests in flight finish, then launches it anew.",
        _restart,
    ),
    "stop": Ask(
        "Drain and stop",
        "Stopping",
        "Takes no new requests, lets those in flight finish, then stops.",
        _stop,
    ),
    "stop-at-once": Ask(
        "Stop at once",
        "Stopping at once",
        "Cuts the requests in flight, and stops.",
        _stop_at_once,
    ),
}
MAIN: Final = "start"
GRAVE: Final = "stop-at-once"
MOVE: Final = '{} <a class="magi-ask" id="move-{}" href="{}">{}</a>'
BUTTON: Final = (
    '<button class="magi-ask{}" id="ask-{}-{}" name="ask" value="{}" title="{}" '
    'formmethod="post" formaction="{}">{}</button>'
)


def asks_of(server: Server) -> list[str]:
    """Return what makes sense to ask of a server as it is."""
    if server.state == ServerState.FAILED:
        return ["start", "stop"] if server.wanted == Wanted.RUNNING else ["start"]
    runs = [GRAVE] if server.state in RUNNING else []
    if server.wanted == Wanted.RUNNING:
        return ["restart", "stop", *runs]
    return ["start", *runs]


def buttons(server: Server, url: str, *, move_url: str = "") -> SafeString:
    """Return the buttons for a server, of whichever form they are in: POST, with its token.

    Each has an id, so that a page that is looked at again never makes one into another
    under somebody's finger.

    Args:
        move_url: of the page on which it is sent to another node, where there is one.
    """
    asked = format_html_join(
        " ", BUTTON, (_button(ask, server, url) for ask in asks_of(server))
    )
    if not move_url:
        return asked
    label = "Move to…" if server.wanted == Wanted.RUNNING else "Start on…"
    return format_html(MOVE, asked, server.pk, move_url, label)


def _button(ask: str, server: Server, url: str) -> tuple[object, ...]:
    kind = {MAIN: " is-main", GRAVE: " is-grave"}.get(ask, "")
    label, explained = _words(ask, server)
    return kind, ask, server.pk, ask, explained, url, label


def _words(ask: str, server: Server) -> tuple[str, str]:
    """Return how a button is called, and what it does."""
    if ask == "stop" and server.state == ServerState.FAILED:
        label = "Stop trying" if server.next_start_at else "Leave stopped"
        return label, "It does not run; nothing starts it again by itself."
    return ASKS[ask].label, ASKS[ask].explained


def cut_by(ask: str, servers: Iterable[Server]) -> int:
    """Return how many requests would be cut, as far as the gateway in this process knows."""
    if ask != GRAVE:
        return 0
    return sum(in_flight_of(server.pk) or 0 for server in servers)


def confirm(
    request: HttpRequest,
    servers: Sequence[Server],
    ask: str,
    *,
    sent: list[tuple[str, str]],
    back: str,
) -> TemplateResponse:
    """Ask before it is done: what was sent comes again, with `confirmed`.

    Args:
        sent: the fields of the form that asked for it.
        back: the page that one goes to who leaves all as it is.
    """
    context = {
        **admin.site.each_context(request),
        **_confirmation(ask, servers),
        "opts": Server._meta,
        "sent": sent,
        "back": back,
    }
    return TemplateResponse(request, CONFIRM, context)


def _confirmation(ask: str, servers: Sequence[Server]) -> dict[str, Any]:
    rows = [
        {
            "title": title_of(server),
            "server": server,
            "badge": format_html(
                '<span class="magi-badge magi-{}">{}</span>',
                server.state,
                server.get_state_display(),
            ),
            "in_flight": in_flight_of(server.pk) or 0,
        }
        for server in servers
    ]
    of = rows[0]["title"] if len(rows) == 1 else f"{len(rows)} servers"
    total = sum(in_flight_of(server.pk) or 0 for server in servers)
    return {
        "title": f"{ASKS[ask].label}: {of}?",
        "rows": rows,
        "ask": ask,
        "label": f"{ASKS[ask].label}: {of}",
        "sentences": [_flight(ask, total), _afterwards(len(rows))],
        "is_grave": ask == GRAVE,
    }


def _flight(ask: str, total: int) -> str:
    requests = f"{total} request{'' if total == 1 else 's'} in flight"
    if ask == GRAVE:
        if not total:
            return "No request is in flight. One that comes before the stop is cut."
        verb = "is" if total == 1 else "are"
        return f"{requests} {verb} cut: the clients get an error, or half an answer."
    profile = active_profile() or Profile()
    if not total:
        return "No request is in flight. One that comes before the stop may finish."
    drain = span(profile.drain_seconds)
    return f"{requests} may take up to {drain} more, and what takes longer is cut."


def _afterwards(count: int) -> str:
    them = "it" if count == 1 else "them"
    return (
        f"No request starts {them} again: people do, or the activation of a profile. "
        "What other servers do is not touched."
    )


def ask_each(request: HttpRequest, servers: Iterable[Server], ask: str) -> None:
    """Ask for it in the name of who is signed in, and say of each what came of it.

    Args:
        servers: with their models and the roots of those.
    """
    who = request.user.get_username()
    for server in servers:
        try:
            ASKS[ask].request(server, who)
        except QueueUnavailableError as error:
            messages.warning(request, f"{error} {WHEN_BACK}")
        except (ServersError, ModelsError) as error:
            messages.error(request, f"Not done: {error}")
        else:
            messages.success(request, f"{ASKS[ask].doing} {title_of(server)}.")
