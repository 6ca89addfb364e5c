"""What a person has asked about a model's files, as the model's page tells of it."""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from models_app.errors import QueueUnavailableError, UnknownTaskError
from models_app.file_check_service import (
    CHECK,
    VERIFY,
    request_hub_check,
    request_verification,
)
from models_app.models import DiscoveredModel
from models_app.taskstates import TaskState, follow

TOLD_S: Final = 600  # how long a page tells how one ended
MAX_REMEMBERED: Final = 20  # in one session
_KEY: Final = "file_checks"  # in a session: the model's key, what, task and time of each
_DOING: Final = {VERIFY: "Reading every byte", CHECK: "Asking the hub"}
_ASK: Final = {VERIFY: request_verification, CHECK: request_hub_check}

Session = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class AskedCheck:
    """How one is that somebody asked for."""

    what: str
    state: TaskState
    done_bytes: int | None = None
    total_bytes: int | None = None
    result: dict[str, Any] | None = None  # of one that has ended

    @property
    def is_going_on(self) -> bool:
        return self.state in (TaskState.PENDING, TaskState.RUNNING)

    @property
    def is_grave(self) -> bool:
        """Whether it failed, or what it found is wrong."""
        if self.result is None:
            return self.state == TaskState.FAILURE
        return bool(self.result["problem"]) or self.result.get("is_sound") is False

    @property
    def words(self) -> str:
        doing = _DOING[self.what]
        if self.state == TaskState.PENDING:
            return f"{doing}: it waits for the worker of the model's node."
        if self.state == TaskState.RUNNING:
            if self.done_bytes is None or not self.total_bytes:
                return f"{doing}…"
            return f"{doing}: {min(99, self.done_bytes * 100 // self.total_bytes)} %"
        if self.result is None:
            return f"{doing}: it failed. The worker's log says why."
        return str(self.result["message"])


def ask(session: Session, model: DiscoveredModel, what: str) -> None:
    """Ask for one, and remember it; raises as request_verification does."""
    task = _ASK[what](model)
    others = [each for each in session.get(_KEY, []) if each[:2] != [model.pk, what]]
    session[_KEY] = [*others, [model.pk, what, task.id, time.time()]][-MAX_REMEMBERED:]


def asked_checks(session: Session, model_pk: int) -> list[AskedCheck]:
    """Return how those of a model are; old ones are left out."""
    checks = []
    for pk, what, task_id, asked_at in session.get(_KEY, []):
        if pk != model_pk:
            continue
        try:
            task = follow(task_id)
        except (QueueUnavailableError, UnknownTaskError):
            continue
        progress = task.progress or {}
        check = AskedCheck(
            what,
            task.state,
            done_bytes=progress.get("done_bytes"),
            total_bytes=progress.get("total_bytes"),
            result=task.result,
        )
        if check.is_going_on or time.time() - asked_at < TOLD_S:
            checks.append(check)
    return checks
