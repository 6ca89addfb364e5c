"""Ask for a longer look at a machine: here and now, or of the worker that is there."""

from typing import Any

from celery.result import AsyncResult
from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.audit_targets import Target
from models_app.queue import enqueue, require_worker
from servers_app import hardware_look, tasks
from servers_app.hardware import Hardware


def request_look(node: str, *, who: str = "") -> "AsyncResult[Any]":
    """Have the worker of `node` look at its machine anew, and measure its memory.

    Raises:
        NoWorkerError: nobody would do it.
        QueueUnavailableError: the broker cannot be reached.
    """
    require_worker(node)
    with transaction.atomic():  # what was not queued was not asked for
        _write_down(node, who)
        return enqueue(tasks.look_at_hardware, node=node)


def look_here(node: str, *, who: str = "") -> Hardware:
    """Look at this machine, which is `node`, in this process; it takes a second."""
    _write_down(node, who)
    return hardware_look.look_again()


def _write_down(node: str, who: str) -> None:
    """Tell the audit: a measurement has all processors for a second."""
    audit.record(
        Action.BENCHMARK, Target("node", node, node), after={"what": "hardware"}, who=who
    )
