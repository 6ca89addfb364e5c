"""Machines with a worker: what each says of itself, and where its servers are reached.

Whether a node is there is told by its heartbeat and by the database's clock alone: those of
the machines may differ, and jump.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psutil
from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from models_app.node_address import host_to_bind
from servers_app import processes
from servers_app.errors import NodeTakenError
from servers_app.hardware import read_hardware
from servers_app.models import SILENCE, Node
from servers_app.node_hardware import MEASURED, measured, with_disks, write
from servers_app.processes import ProcessIdentity, boot_id, pid_namespace

SILENCE_S: Final = SILENCE.total_seconds()
HARDWARE_PERIOD_S = 60.0  # what is free is written so often; what is there, when it changes
_OF_THE_MOMENT = frozenset(
    {"available_bytes", "swap_used_bytes", "free_bytes", "used_bytes", "read_at"}
)


def beat() -> bool:
    """Write down that this process is the worker of this node, and alive.

    Returns:
        whether the node had been silent until now: then others may only seem to be.

    Raises:
        NodeTakenError: another worker is this node, and alive; its row is left alone.
        django.db.Error: the database did not take it.
    """
    node, _ = Node.objects.get_or_create(name=settings.MAGI_NODE)
    fields: dict[str, Any] = {
        "heartbeat_at": Now(),
        "started_at": datetime.fromtimestamp(_started_at(), UTC),
        "boot_id": boot_id(),
        "worker_pid": os.getpid(),
        "address": host_to_bind(),
    }
    if node.boot_id != boot_id():  # what was measured was another machine, or another boot
        kept = {name: node.hardware[name] for name in node.hardware if name not in MEASURED}
        fields["hardware"] = kept
    if node.facts.get("pid_namespace") != pid_namespace():
        # With the pid that it is of; the other facts come after it.
        fields["facts"] = node.facts | {"pid_namespace": pid_namespace()}
    row = Node.objects.filter(pk=node.pk)
    if is_taken(node):
        row = row.filter(silent())  # as the database sees it at the moment of the write
    if not row.update(**fields):
        if Node.objects.filter(pk=node.pk).exists():
            raise NodeTakenError(node.name, node.address)
        return beat()  # somebody has forgotten this node just now
    hardware = with_disks(read_hardware())
    if _is_due(node.hardware, hardware.as_json() | measured(node)):
        write(hardware)
    return not node.is_alive


def leave() -> None:
    """Write down that this process is the worker of its node no more: another may be, at once.

    Raises:
        django.db.Error: the database did not take it; then others wait until it is silent.
    """
    node = Node.objects.filter(name=settings.MAGI_NODE, worker_pid=os.getpid()).first()
    if node is not None and not is_taken(node):
        Node.objects.filter(pk=node.pk, worker_pid=os.getpid()).update(worker_pid=None)


def is_taken(node: Node) -> bool:
    """Whether its row was last written by another worker that may be at work still.

    That is one of another machine, or of another container of this one, whose processes are
    not to be seen from here; or of this one, while its process is there, with another data
    folder: over the same one, locks keep two workers out of each other's way.
    """
    if node.worker_pid is None or node.started_at is None:
        return False
    if node.facts.get("pid_namespace", pid_namespace()) != pid_namespace():
        return True
    started_at = node.started_at.timestamp()
    if node.worker_pid == os.getpid() and abs(started_at - _started_at()) < 1:
        return False
    if node.boot_id != boot_id():
        return True
    worker = ProcessIdentity(node.worker_pid, started_at, node.boot_id)
    elsewhere = node.facts.get("run_dir", str(settings.MAGI_RUN_DIR))
    return elsewhere != str(settings.MAGI_RUN_DIR) and processes.find(worker) is not None


def silent(prefix: str = "") -> Q:
    """Return which nodes have not said for SILENCE_S that they are there, or never have.

    A heartbeat of the future is one of before the database's clock was set back.

    Args:
        prefix: of the fields, where the rows are not those of nodes.
    """
    at = f"{prefix}heartbeat_at"
    return (
        Q(**{f"{at}__isnull": True})
        | Q(**{f"{at}__lt": Now() - SILENCE})
        | Q(**{f"{at}__gt": Now() + SILENCE})
    )


def silent_nodes() -> frozenset[str]:
    """Return the names of the nodes that have not said for SILENCE_S that they are there."""
    return frozenset(Node.objects.filter(silent()).values_list("name", flat=True))


def alive_nodes() -> list[Node]:
    """Return the nodes whose workers are there."""
    return list(Node.objects.exclude(silent()))


def _started_at() -> float:
    return psutil.Process().create_time()


def _is_due(written: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether `now` must be written: something else is there, or a minute has passed."""
    age_s = now["read_at"] - written.get("read_at", 0)
    return _lasting(written) != _lasting(now) or not 0 <= age_s < HARDWARE_PERIOD_S


def _lasting(value: Any) -> Any:
    """Return a hardware's JSON without what changes by the second."""
    if isinstance(value, Mapping):
        return {key: _lasting(item) for key, item in value.items() if key not in _OF_THE_MOMENT}
    return [_lasting(item) for item in value] if isinstance(value, list) else value
