"""Choose and claim the TCP port of a server."""

import socket
from collections.abc import Collection, Iterator

from django.conf import settings
from django.db import IntegrityError, transaction

from servers_app.errors import NoFreePortError
from servers_app.models import Server, ServerEvent

LOOPBACK = "127.0.0.1"


def port_range() -> range:
    """Return MODEL_PORT_RANGE_START to MODEL_PORT_RANGE_END, both included."""
    return range(settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END + 1)


def claim_port(server: Server) -> int:
    """Return the server's port, claiming one in the database if it has none.

    The model's own port comes first, then the lowest that is free. The unique
    constraint decides between two who want the same.

    Raises:
        NoFreePortError: every port of the range is claimed or taken.
    """
    if server.port is not None:
        return server.port
    claimed = Server.objects.filter(node=server.node, port__isnull=False)
    taken = set(claimed.values_list("port", flat=True))
    for port in free_ports(port_range(), taken, first=server.model.port):
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
        f"Every port from {settings.MODEL_PORT_RANGE_START} to {settings.MODEL_PORT_RANGE_END} "
        "is in use. Stop a server, or widen MODEL_PORT_RANGE_START to MODEL_PORT_RANGE_END."
    )
    raise NoFreePortError(msg)


def free_ports(
    candidates: Collection[int], taken: Collection[int | None], *, first: int | None = None
) -> Iterator[int]:
    """Yield the ports of `candidates` that nobody has, `first` before the others.

    A port counts as free when the database does not claim it (`taken`) and it
    can be bound right now. Another program may still take it afterwards: the
    launch then fails, and says so.
    """
    order = sorted(candidates, key=lambda port: (port != first, port))
    return (port for port in order if port not in taken and is_bindable(port))


def is_bindable(port: int, host: str = LOOPBACK) -> bool:
    """Whether `port` can be bound, as llama-server binds it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
