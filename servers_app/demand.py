"""What requests ask of servers: run this one, this one was used, look after that one.

Called by the gateway, which runs it in a thread of its own.
"""

import logging
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from models_app.clock import now_after
from models_app.errors import ModelsError, QueueUnavailableError
from models_app.queue import enqueue
from servers_app import services, tasks
from servers_app.errors import ServersError
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from servers_app.nodes import silent

log = logging.getLogger(__name__)

WHO: Final = "gateway"
WHY: Final = "a request named it"
# A model that cannot be loaded is not loaded anew for every request that names it.
ASKED_AGAIN_AFTER = timedelta(seconds=30)

_MAY_RUN: Final = Q(on_request=True) | Q(wanted=Wanted.RUNNING)
_GIVEN_UP: Final = Q(
    state=ServerState.FAILED, next_start_at=None, requested_at__lte=F("stopped_at")
)


def demand(server_id: int) -> bool:
    """Want a server running, because a request names it, and queue that.

    Against an idle stop, `UPDATE … SET wanted='stopped' WHERE wanted='running' AND
    last_used_at < …`, the database decides: the stop that comes second finds a server
    in use, and the demand that comes second wants it running again.

    One that is offered on a node that is silent is offered, and wanted, on another one from
    now on, if one may have it.

    Returns:
        Whether it runs or is to be started. False when a person stopped it, when it is
        not there, and when it has failed and was asked for within ASKED_AGAIN_AFTER.
    """
    with transaction.atomic():
        server_id = _where_it_can_start(server_id)
        node = _want_running(server_id)
        if node is not None:
            transaction.on_commit(partial(_queue_settle, server_id, node))
    return node is not None


def note_use(server_ids: Collection[int]) -> None:
    """Write down that servers have just had requests."""
    Server.objects.filter(pk__in=server_ids).update(last_used_at=timezone.now())


def look_at(server_id: int) -> None:
    """Queue a look at a server that did not take a connection, or broke one off."""
    server = Server.objects.filter(pk=server_id).only("node").first()
    if server is not None:
        _queue_settle(server_id, server.node)


def _where_it_can_start(server_id: int) -> int:
    """Return the server that a request has started: this one, or the one it is moved to."""
    is_silent = Exists(Node.objects.filter(silent(), name=OuterRef("node")))
    rows = Server.objects.select_for_update(of=("self",)).select_related("model__root")
    # Nothing runs there, as far as is known: there is nothing that could run twice.
    server = rows.filter(
        is_silent, pk=server_id, wanted=Wanted.STOPPED, on_request=True
    ).first()
    if server is None:
        return server_id
    try:
        return services.request_move(server, who=WHO, why=WHY).pk
    except (ModelsError, ServersError):
        return server_id  # no other node may have it: it waits for its own


def _want_running(server_id: int) -> str | None:
    """Return the server's node if it is wanted running now, and None if it stays as it is."""
    now = timezone.now()
    row = Server.objects.filter(pk=server_id)
    # First, because a write holds the row until the commit: what follows is not a guess.
    if not row.filter(_MAY_RUN).update(last_used_at=now):
        return None
    stopped_at = row.values_list("stopped_at", flat=True).first()
    # Where the clock of its node is ahead of ours, that is after its end, too.
    asked_at = max(now, now_after(stopped_at)) if stopped_at else now
    asked = {"requested_at": asked_at, "asked_by": WHO, "asked_why": WHY}
    is_overdue = Q(requested_at__lt=now - ASKED_AGAIN_AFTER)
    if row.filter(wanted=Wanted.STOPPED).update(
        wanted=Wanted.RUNNING, failed_at=[], next_start_at=None, **asked
    ):
        _record(server_id, before=Wanted.STOPPED)
    elif row.filter(_GIVEN_UP & is_overdue).update(**asked):  # one more try, not as many as new
        _record(server_id, before="")
    return row.exclude(_GIVEN_UP).values_list("node", flat=True).first()


def _record(server_id: int, *, before: str) -> None:
    ServerEvent.objects.create(
        server_id=server_id,
        kind=ServerEvent.Kind.WANTED,
        who=WHO,
        why=WHY,
        from_state=before,
        to_state=Wanted.RUNNING,
    )


def _queue_settle(server_id: int, node: str) -> None:
    try:
        enqueue(tasks.settle, server_id, node=node, wants_result=False)
    except QueueUnavailableError as error:
        log.warning("Server %s waits for the next reconcile. %s", server_id, error)
