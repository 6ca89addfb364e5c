"""The row of a server, and what people want of it: written, told, and queued."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from models_app.audit_targets import Target
from models_app.clock import now_after
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel
from models_app.queue import enqueue
from profiles_app.services import active_profile
from servers_app import tasks
from servers_app.errors import NoNodeError
from servers_app.figures import name_of
from servers_app.lookup import require_node
from servers_app.models import Node, Server, ServerEvent, Wanted
from servers_app.placing import best_of, is_cordoned, nodes_with, place

MAX_WHO_CHARS = 150
MAX_WHY_CHARS = 300
PLACING_LOCK: Final = 0x504C4143  # "PLAC", among a database's advisory locks


# Whether there is a node beside a server's own.
_SEVERAL: Final = Exists(Node.objects.exclude(name=OuterRef("node")).order_by())


class Asked(NamedTuple):
    """What people ask of a server, before that changes."""

    wanted: str
    on_request: bool
    is_one_of_several: bool  # nodes: then its own is named


def row_of(
    model: DiscoveredModel, replica: int, node: str = "", *, who: str = ""
) -> tuple[Server, Asked]:
    """Return the row of a server, made if need be, which nobody else changes meanwhile.

    Args:
        node: where; without it where it is wanted already, else where it is placed. Then
            it is offered there, too, if it was elsewhere.

    Raises:
        NotLaunchableError: no node has files of the model that can be launched.
        UnknownNodeError, NotOnNodeError, NoNodeError: it cannot be on `node`, or on any.
    """
    if not node:
        _place_alone(model)
    # All of the replica, so that of two who place it the second finds it placed.
    replicas = Server.objects.select_for_update(of=("self",)).filter(
        model=model, replica=replica
    )
    annotated = replicas.annotate(is_one_of_several=_SEVERAL)
    servers = {server: server.is_one_of_several for server in annotated}
    have = nodes_with(model)
    if node:
        wanted = [each.node for each in servers if each.wanted == Wanted.RUNNING]
        _refuse(model, node, have, is_wanted=node in wanted)
        elsewhere: list[int] = []
    else:
        node = _node_for(model, replica, servers, have)
        elsewhere = [each.pk for each in servers if each.on_request and each.node != node]
    if elsewhere:
        offered = Server.objects.filter(pk__in=elsewhere)
        withdraw(offered.select_related("model"), who=who)
    for server, is_one_of_several in servers.items():
        if server.node == node:
            server.model = model
            on_request = server.on_request or bool(elsewhere)
            return server, Asked(server.wanted, on_request, is_one_of_several)
    made, _ = Server.objects.get_or_create(model=model, node=node, replica=replica)
    asked = asked_of(made)
    return made, asked._replace(on_request=asked.on_request or bool(elsewhere))


def _place_alone(model: DiscoveredModel) -> None:
    """Have nobody else place a server of the model until the transaction ends.

    Of one that was never started there is no row to lock. SQLite has one writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [PLACING_LOCK, model.pk])


def node_for(model: DiscoveredModel, replica: int) -> str:
    """Return where a server would be started now: where it is wanted, else where it is placed.

    Raises:
        NotLaunchableError, NoNodeError: nowhere.
    """
    servers = Server.objects.filter(model=model, replica=replica)
    return _node_for(model, replica, servers, nodes_with(model))


def _node_for(
    model: DiscoveredModel, replica: int, servers: Iterable[Server], have: Sequence[str]
) -> str:
    if wanted := [server for server in servers if server.wanted == Wanted.RUNNING]:
        return best_of(wanted, model).node
    return place(model, active_profile(), replica=replica, have=have).node


def _refuse(model: DiscoveredModel, node: str, have: Sequence[str], *, is_wanted: bool) -> None:
    """Raise why a server cannot be on a node that somebody names, if it cannot."""
    if node not in have:
        require_node(node)
        raise NotOnNodeError(model.model_id, node)
    if not is_wanted and is_cordoned(node):
        msg = (
            f"Node {node} is cordoned: it gets no new servers. Uncordon it first "
            f"(manage.py nodes uncordon {node}), or name another one."
        )
        raise NoNodeError(msg)


def want(
    server: Server, wanted: Wanted, *, who: str, why: str, asked: Asked | None = None
) -> None:
    """Write down what is wanted of a server, tell of it, and queue a look at it.

    Args:
        asked: what was before, if it was read in this transaction, and locked.
    """
    asked = asked or asked_of(server)
    before: dict[str, Any] = {"wanted": asked.wanted, "on_request": asked.on_request}
    # Whom people have stopped, no request starts again.
    after = before | ({"on_request": False} if wanted == Wanted.STOPPED else {})
    after["wanted"] = wanted
    Server.objects.filter(pk=server.pk).update(
        **after,
        requested_at=now_after(server.stopped_at),
        asked_by=who[:MAX_WHO_CHARS],
        asked_why=why[:MAX_WHY_CHARS],
        failed_at=[],  # who asks again has it tried as if it had never failed
        next_start_at=None,
    )
    server.wanted = wanted
    action = Action.START if wanted == Wanted.RUNNING else Action.STOP
    target = target_of(server, is_one_of_several=asked.is_one_of_several)
    audit.record_change(action, target, before, after, who=who)
    if asked.wanted != wanted:
        tell(server, wanted, before=asked.wanted, who=who, why=why)
    transaction.on_commit(partial(enqueue, tasks.settle, server.pk, node=server.node))


def asked_of(server: Server) -> Asked:
    """Return what people ask of a server; nobody else changes it until the commit."""
    rows = Server.objects.select_for_update(of=("self",)).filter(pk=server.pk)
    fields = rows.annotate(is_one_of_several=_SEVERAL).values_list(
        "wanted", "on_request", "is_one_of_several"
    )
    return Asked(*fields.get())


def withdraw(offered: QuerySet[Server], *, who: str) -> None:
    """Have no request start these servers any more."""
    before, after = {"on_request": True}, {"on_request": False}
    several = Node.objects.count() > 1
    changes = [
        Change(target_of(server, is_one_of_several=several), before, after)
        for server in offered
    ]
    audit.record_each(Action.STOP, changes, who=who)
    offered.update(on_request=False)


def target_of(server: Server, *, is_one_of_several: bool) -> Target:
    """Return what the audit calls a server: with its node, where there are several."""
    name = name_of(server)
    name = f"{name} on {server.node}" if is_one_of_several else name
    return Target("server", str(server.pk), name)


def tell(server: Server, wanted: str, *, who: str, why: str, before: str = "") -> None:
    """Put what is wanted of a server into its history."""
    ServerEvent.objects.create(
        server=server,
        kind=ServerEvent.Kind.WANTED,
        who=who[:MAX_WHO_CHARS],
        why=why,
        from_state=before,
        to_state=wanted,
    )
