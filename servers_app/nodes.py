"""Machines with a worker: what each says of itself, and where its servers are reached."""

import ipaddress
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psutil
from django.conf import settings
from django.db.models.functions import Now

from servers_app.hardware import read_hardware
from servers_app.models import Node
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
