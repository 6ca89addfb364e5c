"""Choose and claim the TCP port of a server."""

import errno
import socket
from collections.abc import Collection, Iterator

from django.conf import settings
from django.db import IntegrityError, transaction

from models_app.node_address import host_to_bind
from servers_app.errors import NoFreePortError
from servers_app.models import Node, Server, ServerEvent

LOOPBACK = "127.0.0.1"


def port_range(node: str = "") -> range:
    """Return MODEL_PORT_RANGE_START to MODEL_PORT_RANGE_END of a node, both included.

    Those of another node are as its worker says; before it has, they are as here.
    """
    start, end = settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END
    if node not in {"", settings.MAGI_NODE}:
        row = Node.objects.filter(name=node).only("facts").first()
        start, end = (row.facts.get("port_range") if row else None) or (start, end)
    return range(start, end + 1)


def claim_port(server: Server) -> int:
    """Return the server's port, claiming one in the database if it has none.

    The model's own port comes first, then the lowest that is free. The unique
    constraint decides between two who want the same. Whether another program has it can
    only be asked on the server's own node: elsewhere the launch finds out.

    Raises:
        NoFreePortError: every port of the node's range is claimed or taken.
    """
    if server.port is not None:
        return server.port
    claimed = Server.objects.filter(node=server.node, port__isnull=False)
    taken = set(claimed.values_list("port", flat=True))
    ports, is_here = port_range(server.node), server.node == settings.MAGI_NODE
    for port in free_ports(ports, taken, first=server.model.port, is_here=is_here):
        try:
            with transaction.atomic():
                Server.objects.filter(pk=server.pk).update(port=port)
        except IntegrityError:
            continue  # another server claimed it since we looked
        server.port = port
        if server.model.port not in (None, port):
            why = f"port {server.model.port}, the model's own, is taken; {port} is used"
            ServerEvent.objects.create(server=server, kind=ServerEvent.Kind.NOTE, why=why)
        return port
    msg = (
        f"Every port from {ports.start} to {ports.stop - 1} of node {server.node} is in use. "
        "Stop a server there, or widen its MODEL_PORT_RANGE_START to MODEL_PORT_RANGE_END."
    )
    raise NoFreePortError(msg)


def free_ports(
    candidates: Collection[int],
    taken: Collection[int | None],
    *,
    first: int | None = None,
    is_here: bool = True,
) -> Iterator[int]:
    """Yield the ports of `candidates` that nobody has, `first` before the others.

    A port counts as free when the database does not claim it (`taken`) and it
    can be bound right now. Another program may still take it afterwards: the
    launch then fails, and says so. With `is_here` false they are another machine's, which
    cannot be asked.
    """
    order = sorted(candidates, key=lambda port: (port != first, port))
    free = (port for port in order if port not in taken)
    return (port for port in free if not is_here or is_bindable(port))


def is_bindable(port: int, host: str = "") -> bool:
    """Whether `port` can be bound, as llama-server binds it.

    That an address is none of this machine is not the port's fault: see `unusable_address`.

    Args:
        host: by default, where the servers of this node listen.
    """
    try:
        _bind(host or host_to_bind(), port)
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def unusable_address() -> str:
    """Return why no server of this node can listen where it is to; empty if it can."""
    host = host_to_bind()
    try:
        _bind(host, 0)
    except OSError as error:
        return (
            f"No server can listen on {host}, the MAGI_NODE_ADDRESS of node "
            f"{settings.MAGI_NODE}: {error.strerror}. Set it to an address of that machine."
        )
    return ""


def _bind(host: str, port: int) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
