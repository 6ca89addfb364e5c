"""A longer look at this machine, when somebody asks: all of it anew, and a measurement."""

from contextlib import suppress
from dataclasses import replace

from django.conf import settings

from models_app.events import TASK, publish
from models_app.locks import node_lock
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import ask_devices
from servers_app.errors import EngineError
from servers_app.hardware import Hardware, forget, read_hardware
from servers_app.hardware.bandwidth import measure
from servers_app.models import Node
from servers_app.node_hardware import with_disks
from servers_app.processes import boot_id


def look_again() -> Hardware:
    """Look at all of this machine anew, measure its memory, and write it down.

    It takes a second to four, and while it measures, all processors. Two at once would
    measure each other, so one waits for the other.
    """
    with node_lock("hardware", wait=lambda: True):
        forget()
        _ask_engines()
        bandwidth, trouble = measure()
        hardware = replace(with_disks(read_hardware()), memory_bandwidth_how=trouble)
        if bandwidth is not None:
            hardware = replace(
                hardware,
                memory_bandwidth_bytes_per_s=bandwidth.bytes_per_s,
                memory_bandwidth_error_bytes_per_s=bandwidth.error_bytes_per_s,
                memory_bandwidth_how=bandwidth.how,
                memory_bandwidth_at=hardware.read_at,
            )
        Node.objects.update_or_create(
            name=settings.MAGI_NODE,
            defaults={"hardware": hardware.as_json(), "boot_id": boot_id()},
        )
    publish(TASK, {"task": "hardware", "node": settings.MAGI_NODE})
    return hardware


def _ask_engines() -> None:
    """Ask each engine of this node for its devices; one that fails has it written down."""
    asked: set[Engine] = set()
    for name in ("", *settings.LLAMA_SERVER_BUILDS):
        with suppress(EngineError):
            engine = replace(find_engine(name), name="")
            if engine not in asked:
                asked.add(engine)
                ask_devices(engine)
