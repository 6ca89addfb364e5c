"""Servers of a lost node are started on another one, where the active profile asks for that.

Any worker does it, several at once: a server is moved by who locks its row while it is still
wanted there. The lost node, when it is back, finds that it is not, and stops what runs.
"""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.fields import DateTimeField
from django.db.models.functions import Now

from models_app.errors import ModelsError, QueueUnavailableError
from profiles_app.models import Eviction, Profile
from profiles_app.services import active_profile
from servers_app import services
from servers_app.errors import NoNodeError, ServersError
from servers_app.models import Node, Server, ServerEvent, Wanted
from servers_app.placing import place

log = logging.getLogger(__name__)

FAILOVER = "failover"  # who moved it


def fail_over() -> int:
    """Move what is wanted on nodes that are lost for too long; return how many servers.

    One that no node can take stays wanted where it is, says so once, and is tried again. To
    be called only by who is steady, as servers_app/heartbeat.py has it.
    """
    profile = active_profile()
    if profile is None or not profile.placement_failover:
        return 0
    lost = list(_lost(profile).order_by("pk").values_list("pk", flat=True))
    return sum(_move(server_id, profile) for server_id in lost)


def _lost(profile: Profile) -> QuerySet[Server]:
    after = timedelta(seconds=profile.placement_failover_after_seconds)
    latest = ExpressionWrapper(Now() - after, DateTimeField())
    # One of the future is of before the database's clock was set back.
    ahead = ExpressionWrapper(Now() + after, DateTimeField())
    is_lost = (
        Q(heartbeat_at__isnull=True) | Q(heartbeat_at__lt=latest) | Q(heartbeat_at__gt=ahead)
    )
    nodes = Node.objects.filter(is_lost, name=OuterRef("node"))
    return Server.objects.filter(
        Exists(nodes), wanted=Wanted.RUNNING, unreachable_since__isnull=False
    )


def _move(server_id: int, profile: Profile) -> bool:
    after = profile.placement_failover_after_seconds
    try:
        with transaction.atomic():
            row = _lost(profile).filter(pk=server_id).select_related("model__root")
            server = row.select_for_update(skip_locked=True, of=("self",)).first()
            if server is None:
                return False  # another worker has moved it, or is about to; or its node is back
            why = f"node {server.node} has been lost for more than {after} s"
            to = _room_for(server, profile)
            services.request_move(server, to=to, who=FAILOVER, why=why)
    except QueueUnavailableError as error:
        # After the commit: it is wanted there, and that node's worker does it by itself.
        log.warning("A server was moved, and its start not queued: %s", error)
        return True
    except (ModelsError, ServersError) as error:
        _say_once(server_id, f"It stays on its lost node: {error}")
        return False
    log.warning("%s was moved: %s", server, why)
    return True


def _room_for(server: Server, profile: Profile) -> str:
    """Return the node that takes over a server.

    Raises:
        NoNodeError: none may, or none has room. A launch that is refused there would leave
            it failed when its own node is back, which could have gone on with it.
    """
    found = place(server.model, profile, replica=server.replica, avoid=(server.node,))
    if found.note and profile.eviction == Eviction.NEVER:
        msg = f"No other node has room for {server.model.model_id}: {found.note}."
        raise NoNodeError(msg)
    return found.node


def _say_once(server_id: int, text: str) -> None:
    """Put it into the server's history, once for each loss of its node."""
    with transaction.atomic():
        rows = Server.objects.select_for_update(skip_locked=True, of=("self",))
        server = rows.filter(pk=server_id, unreachable_since__isnull=False).first()
        if server is None:
            return
        said = ServerEvent.objects.filter(
            server=server,
            who=FAILOVER,
            kind=ServerEvent.Kind.NOTE,
            at__gte=server.unreachable_since,
        )
        if not said.exists():
            ServerEvent.objects.create(
                server=server, kind=ServerEvent.Kind.NOTE, who=FAILOVER, why=text
            )
