"""Machines with a worker: what each says of itself, and where its servers are reached."""

import ipaddress
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psutil
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from servers_app.errors import NodeAwayError
from servers_app.hardware import read_hardware
from servers_app.models import SILENCE, Node
from servers_app.processes import boot_id

LOOPBACK = "127.0.0.1"
HARDWARE_PERIOD_S = 60.0  # what is free is written so often; what is there, when it changes
_OF_THE_MOMENT = frozenset(
    {"available_bytes", "swap_used_bytes", "free_bytes", "used_bytes", "read_at"}
)


def beat() -> None:
    """Write down that this process is the worker of this node, and alive.

    Raises:
        django.db.Error: the database did not take it.
    """
    node, _ = Node.objects.get_or_create(name=settings.MAGI_NODE)
    fields: dict[str, Any] = {
        # By the database's clock: those of the machines may differ.
        "heartbeat_at": Now(),
        "started_at": datetime.fromtimestamp(psutil.Process().create_time(), UTC),
        "boot_id": boot_id(),
        "worker_pid": os.getpid(),
        "address": host_to_bind(),
    }
    hardware = read_hardware().as_json()
    if _is_due(node.hardware, hardware):
        fields["hardware"] = hardware
    Node.objects.filter(pk=node.pk).update(**fields)


def host_to_bind() -> str:
    """Return where the servers of this node listen: loopback, unless others reach it."""
    address: str = settings.MAGI_NODE_ADDRESS
    return LOOPBACK if _is_loopback(address) else address


def address_of(node: str) -> str:
    """Return the host at which the servers of `node` are reached, as a URL has it.

    Raises:
        NodeAwayError: it is another machine, which has never said where it is.
    """
    address = Node.objects.filter(name=node).values_list("address", flat=True).first()
    if address is None:
        if node != settings.MAGI_NODE:
            raise NodeAwayError(_never_seen(node))
        address = LOOPBACK
    return f"[{address}]" if ":" in address else address  # IPv6


def live_nodes() -> list[Node]:
    """Return the nodes whose worker has said lately that it is there."""
    return list(Node.objects.filter(heartbeat_at__gt=timezone.now() - SILENCE))


def require_node(name: str) -> Node:
    """Return the node `name`, whose worker is alive.

    Raises:
        NodeAwayError: it is not; the message says when it was last seen.
    """
    node = Node.objects.filter(name=name).first()
    if node is None or node.heartbeat_at is None:
        raise NodeAwayError(_never_seen(name))
    if not node.is_alive:
        seen = timezone.localtime(node.heartbeat_at)
        msg = (
            f"Node {name} does not answer: its worker was last seen at "
            f"{seen:%Y-%m-%d %H:%M:%S %Z}. Start MAGI on that machine again, or see that it "
            "reaches the database."
        )
        raise NodeAwayError(msg)
    return node


def _never_seen(name: str) -> str:
    known = ", ".join(Node.objects.values_list("name", flat=True)) or "none"
    return (
        f"Node {name} has never been seen; known are: {known}. "
        f"Start MAGI on that machine with MAGI_NODE={name}."
    )


def _is_due(written: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether `now` must be written: something else is there, or a minute has passed."""
    age_s = now["read_at"] - written.get("read_at", 0)
    return _lasting(written) != _lasting(now) or not 0 <= age_s < HARDWARE_PERIOD_S


def _lasting(value: Any) -> Any:
    """Return a hardware's JSON without what changes by the second."""
    if isinstance(value, Mapping):
        return {key: _lasting(item) for key, item in value.items() if key not in _OF_THE_MOMENT}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"
