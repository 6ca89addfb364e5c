"""Have a model's node read its files, or compare them with the hub's."""

from typing import Any, Final

from celery.result import AsyncResult
from django.db import transaction

from models_app import audit, tasks
from models_app.acting import actor
from models_app.audit_models import Action
from models_app.copies import as_on, home_of
from models_app.models import DiscoveredModel
from models_app.queue import enqueue, require_worker

VERIFY: Final = "verify"
CHECK: Final = "check"


def request_verification(model: DiscoveredModel, *, node: str = "") -> "AsyncResult[Any]":
    """Have the worker of a node read every byte of a model's files there.

    Args:
        node: empty for the model's home.

    Raises:
        NotOnNodeError: that node has no files of it.
        NoWorkerError: nobody would do it.
        QueueUnavailableError: the broker cannot be reached.
    """
    if node:
        as_on(model, node)
    return _request(tasks.verify_model, model, VERIFY, node)


def request_hub_check(model: DiscoveredModel) -> "AsyncResult[Any]":
    """Have the worker of the model's home ask the hub what it has of it; raises as above."""
    return _request(tasks.check_model, model, CHECK)


def _request(
    task: Any, model: DiscoveredModel, what: str, node: str = ""
) -> "AsyncResult[Any]":
    home = home_of(model)
    where = node or home
    require_worker(where)
    after = {"what": what} if where == home else {"what": what, "node": where}
    with transaction.atomic():  # what was not queued was not asked for
        audit.record(Action.VERIFY, model, after=after)
        return enqueue(task, model.pk, actor().who, node=where)
