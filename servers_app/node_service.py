"""What people decide of nodes: that one gets no new servers, and that one is gone for good."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from models_app import audit, homes, retention
from models_app.audit_models import Action
from models_app.copy_models import ModelCopy
from models_app.errors import UnknownNodeError
from models_app.models import Scan, ScanMemory, ScanRoot
from servers_app.errors import NodeNotSilentError
from servers_app.figures import name_of
from servers_app.models import EngineBuild, MemoryMeasurement, Node, Server, Wanted

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went with a node."""

    servers: int
    scan_roots: int
    copies: int


def find_node(name: str) -> Node:
    """Return the node of that name.

    Raises:
        UnknownNodeError: there is none.
    """
    return _found(Node.objects.all(), name)


@transaction.atomic
def set_cordoned(name: str, *, cordoned: bool, who: str = "") -> Node:
    """Have no server placed on a node from now on, or servers again. Those there stay.

    Raises:
        UnknownNodeError: there is no such node.
    """
    node = _found(Node.objects.select_for_update(), name)
    if node.is_cordoned != cordoned:
        Node.objects.filter(pk=node.pk).update(is_cordoned=cordoned)
        before, after = {"is_cordoned": node.is_cordoned}, {"is_cordoned": cordoned}
        action = Action.CORDON if cordoned else Action.UNCORDON
        audit.record(action, node, before=before, after=after, who=who)
        node.is_cordoned = cordoned
    return node


@transaction.atomic
def forget(name: str, *, who: str = "") -> Forgotten:
    """Remove all that is known of a node that is gone for good, and the node itself.

    Models with their home there get it on another node that has a copy; the rest is missing.
    What the node has on its disks is not touched: a worker there makes it known again.

    Raises:
        UnknownNodeError: there is no such node.
        NodeNotSilentError: it is there, or servers are wanted on it.
    """
    node = _found(Node.objects.select_for_update(), name)
    if node.is_alive:
        msg = f"Node {name} is there: stop its worker first, and wait for 20 s."
        raise NodeNotSilentError(msg)
    servers = Server.objects.select_related("model").filter(node=name)
    if wanted := list(servers.filter(wanted=Wanted.RUNNING)):
        named = ", ".join(map(name_of, wanted[:MAX_NAMED]))
        more = f" and {len(wanted) - MAX_NAMED} more" if len(wanted) > MAX_NAMED else ""
        msg = f"Node {name} is to run {named}{more}: stop these first, or start them elsewhere."
        raise NodeNotSilentError(msg)
    roots, copies = ScanRoot.objects.filter(node=name), ModelCopy.objects.filter(node=name)
    gone = Forgotten(servers.count(), roots.count(), copies.count())
    homes.leave(name, (), is_alone=False)
    servers.delete()
    roots.delete()
    for known in (ScanMemory, EngineBuild, MemoryMeasurement):
        known._default_manager.filter(node=name).delete()
    # One without scans is scanned by itself when it is there again.
    retention.delete(Scan.objects.filter(node=name).order_by("pk"))
    before = {"address": node.address, "scan_roots": gone.scan_roots, "servers": gone.servers}
    audit.record(Action.DELETE, node, before=before, who=who)
    node.delete()
    return gone


def _found(nodes: "QuerySet[Node]", name: str) -> Node:
    node = nodes.filter(name=name).first()
    if node is None:
        raise UnknownNodeError(name, Node.objects.values_list("name", flat=True))
    return node
