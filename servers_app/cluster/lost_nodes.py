"""Nodes that are lost: their servers are told unreachable, and reachable when they are back.

Any worker does this at any time, several at once: each change is one UPDATE that says what
must still hold, so each is made, told and written down once.
"""

import logging
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from models_app.events import SERVER, publish
from servers_app.models import RUNNING, Node, Server, ServerEvent, Wanted
from servers_app.nodes import silent

log = logging.getLogger(__name__)

WATCH = "watch"  # who noticed

NOT_AT_REST = Q(state__in=RUNNING) | Q(wanted=Wanted.RUNNING)


def mark_back() -> int:
    """Take back that servers are unreachable whose nodes are there; return of how many."""
    servers = _shown(Server.objects.filter(_is_there(), unreachable_since__isnull=False))
    return sum(
        _write(server, None, f"node {server.node} is there again", _is_there())
        for server in servers
    )


def mark_lost() -> int:
    """Note which servers cannot be reached, because their node is silent; return how many.

    It costs one query where nothing is new. To be called only by who is steady, as
    servers_app/heartbeat.py has it.
    """
    if _is_silent_itself():
        return 0  # the database's clock has jumped, or it was away: nobody knows yet
    lost = _is_lost()
    servers = list(_shown(Server.objects.filter(NOT_AT_REST, lost, unreachable_since=None)))
    if not servers:
        return 0
    heard = Node.objects.filter(name__in={server.node for server in servers})
    heartbeats = {node.name: node.heartbeat_at for node in heard}
    count = 0
    for server in servers:
        at = heartbeats[server.node]
        since = min(at, timezone.now()) if at else timezone.now()
        why = f"node {server.node} is silent: what is said of its servers is of then"
        count += _write(server, since, why, lost)
    return count


def _is_lost() -> Exists:
    return Exists(Node.objects.filter(silent(), name=OuterRef("node")))


def _is_there() -> Exists:
    return Exists(Node.objects.exclude(silent()).filter(name=OuterRef("node")))


def _is_silent_itself() -> bool:
    return Node.objects.filter(silent(), name=settings.MAGI_NODE).exists()


def _shown(servers: QuerySet[Server]) -> QuerySet[Server]:
    """Return them in one order for all who write them, with what events tell of them."""
    return servers.select_related("model").only(
        "node", "replica", "state", "unreachable_since", "load_progress", "model__model_id",
        "model__display_name",
    ).order_by("pk")  # fmt: skip


def _write(server: Server, since: datetime | None, why: str, holds: Exists) -> bool:
    """Write it if it is still so, and whether that was the case."""
    with transaction.atomic():
        row = Server.objects.filter(
            holds, pk=server.pk, unreachable_since__isnull=since is not None
        )
        if not row.update(unreachable_since=since):
            return False
        ServerEvent.objects.create(
            server=server, kind=ServerEvent.Kind.NOTE, who=WATCH, why=_sentence(why)
        )
    log.warning("%s: %s", server, why)
    what = {
        "model_id": server.model.model_id,
        "replica": server.replica,
        "state": server.state,
        "progress": server.load_progress,
        "unreachable_since": since and since.isoformat(),
    }
    publish(SERVER, what)
    return True


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
