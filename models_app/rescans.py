"""Ask for a rescan. It changes nothing that people decided, unless it prunes; both are told."""

from typing import Any

from celery.result import AsyncResult
from django.conf import settings
from django.db import transaction

from models_app import audit, tasks
from models_app.acting import actor
from models_app.audit_models import Action
from models_app.audit_targets import Target
from models_app.errors import UnknownNodeError
from models_app.models import ScanRoot
from models_app.queue import enqueue, require_worker


def request_rescan(node: str, *, prune: bool = False) -> "AsyncResult[Any]":
    """Have the worker of `node` look for models.

    Args:
        prune: remove the rows of models that have gone, overrides and all.

    Raises:
        UnknownNodeError: no node of that name has scan roots, and this is not it.
        NoWorkerError: nobody would do it.
        QueueUnavailableError: the broker cannot be reached.
    """
    known = {settings.MAGI_NODE, *ScanRoot.objects.values_list("node", flat=True).distinct()}
    if node not in known:
        raise UnknownNodeError(node, sorted(known))
    require_worker(node)
    with transaction.atomic():  # what was not queued was not asked for
        write_down(node, prune=prune)
        return enqueue(tasks.rescan, node, prune, actor().who, node=node)


def write_down(node: str, *, prune: bool) -> None:
    """Tell the audit that somebody wants a rescan."""
    audit.record(Action.RESCAN, Target("node", node, node), after={"prune": prune})
