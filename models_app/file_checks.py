"""What a worker does for who asks about a model's files: reads them, or asks the hub."""

import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings

from models_app.copies import as_on
from models_app.errors import (
    DownloadError,
    FilesChangedError,
    NotOnNodeError,
    UnknownModelError,
)
from models_app.events import TASK, publish
from models_app.hub_check import check_model
from models_app.integrity import verify_model
from models_app.locks import node_lock
from models_app.models import DiscoveredModel
from models_app.scanned import os_reason
from models_app.taskstates import ProgressNotes

VERIFY: Final = "verify"
INTERVAL_S: Final = 0.5  # between two notes of how far a verification is
BUSY: Final = "Another model is being verified on this node. Ask again when that has ended."


def verify(model_pk: int, *, task_id: str | None = None) -> dict[str, Any]:
    """Do what `models verify` does here; return it as JSON, with `problem` and `code`."""
    model = _model(model_pk)
    if model is None:
        return _trouble(str(UnknownModelError(str(model_pk))), "gone")
    try:
        model = as_on(model, settings.MAGI_NODE)
    except NotOnNodeError as error:
        return _trouble(str(error), "elsewhere")
    with node_lock("verify") as held:  # a thread of the worker each, and the disk is one
        if not held:
            return _trouble(BUSY, "busy")
        return _verified(model, task_id)


def check(model_pk: int) -> dict[str, Any]:
    """Do what `models check` does; return it as JSON, with `problem` and `code`."""
    model = _model(model_pk)
    if model is None:
        return _trouble(str(UnknownModelError(str(model_pk))), "gone")
    try:
        checked = check_model(model)
    except DownloadError as error:
        return _trouble(str(error), error.code)
    return {**checked.as_json(), "message": checked.words, "problem": "", "code": ""}


def _verified(model: DiscoveredModel, task_id: str | None) -> dict[str, Any]:
    try:
        verified = verify_model(model, _teller(model, task_id))
    except FilesChangedError as error:
        return _trouble(str(error), "changed")
    except OSError as error:
        reason = os_reason(error, missing="a file is missing")
        return _trouble(
            f"The files of {model.model_id} cannot be read: {reason}.", "unreadable"
        )
    return {**verified.as_json(), "message": verified.words, "problem": "", "code": ""}


def _model(pk: int) -> DiscoveredModel | None:
    return DiscoveredModel.objects.select_related("root").filter(pk=pk).first()


def _trouble(problem: str, code: str) -> dict[str, Any]:
    return {"problem": problem, "code": code, "message": problem}


def _teller(model: DiscoveredModel, task_id: str | None) -> Callable[[int], None]:
    """Return what is called with the bytes just read: it tells now and then how many."""
    notes = ProgressNotes(task_id) if task_id else None
    done_bytes, due_at = 0, time.monotonic()

    def on_bytes(count: int) -> None:
        nonlocal done_bytes, due_at
        done_bytes += count
        now = time.monotonic()
        if notes is None or now < due_at:
            return
        due_at = now + INTERVAL_S
        progress = {"done_bytes": done_bytes, "total_bytes": model.size_bytes}
        notes.write(progress)
        state = {"task": VERIFY, "task_id": task_id, "state": "running"}
        publish(TASK, {**state, "model_id": model.model_id, **progress})

    return on_bytes
