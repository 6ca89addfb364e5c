"""What this node has, as its heartbeat writes it down, and what the others wrote."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from models_app.downloads import ollama_registry
from models_app.huggingface import hub_cache
from models_app.models import ScanRoot
from servers_app.hardware import Hardware, read_disks, read_hardware
from servers_app.models import Node
from servers_app.processes import boot_id

MEASURED: Final = (
    "memory_bandwidth_bytes_per_s",
    "memory_bandwidth_error_bytes_per_s",
    "memory_bandwidth_how",
    "memory_bandwidth_at",
)


def with_disks(hardware: Hardware) -> Hardware:
    """Return it with the disks of this node: its scan roots', and downloads'.

    It costs a query. A disk that hangs is waited for two seconds, once.
    """
    roots = ScanRoot.objects.filter(node=settings.MAGI_NODE, is_enabled=True)
    downloads = [str(hub_cache()), str(ollama_registry.store())]
    disks, notes = read_disks([*roots.values_list("path", flat=True)], downloads)
    return replace(hardware, disks=disks, disk_notes=notes)


def measured(node: Node | None) -> dict[str, Any]:
    """Return what was measured on this machine since it started, as its JSON has it."""
    if node is None or node.boot_id != boot_id():
        return {}
    return {name: node.hardware[name] for name in MEASURED if name in node.hardware}


def here() -> Hardware:
    """Return what this machine has now, with what was measured of it; nothing is written."""
    node = Node.objects.filter(name=settings.MAGI_NODE).first()
    return replace(with_disks(read_hardware()), **measured(node))


def write(hardware: Hardware) -> None:
    """Write it down as this node's, but for what is measured: that stays.

    A measurement may come between a look and its writing, so the row is locked.
    """
    with transaction.atomic():
        node = Node.objects.select_for_update().get(name=settings.MAGI_NODE)
        told = hardware.as_json() | measured(node)
        Node.objects.filter(pk=node.pk).update(hardware=told, boot_id=boot_id())


def hardware_of(node: str) -> Hardware | None:
    """Return what a node wrote last; None for one that never has."""
    told: Mapping[str, Any] | None = (
        Node.objects.filter(name=node).values_list("hardware", flat=True).first()
    )
    return Hardware.from_json(told or {})
