"""How a queued task is: waiting, at work and how far, or ended.

Celery keeps only how a task ended. Until then a note says the rest: it stands in Redis beside
the results, from the moment the task is queued until its result is there. So a task of which
there is neither was never queued, or has ended too long ago.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celery import Task, current_app
from celery.result import AsyncResult
from celery.utils import uuid
from django.db import models
from redis import Redis, RedisError

from models_app.errors import QueueUnavailableError, UnknownTaskError
from models_app.events import TASK, publish
from models_app.queue import task_meta

logger = logging.getLogger(__name__)

NOTE_KEPT_S: Final = 24 * 3600  # of a task whose worker never came back
QUIET_S: Final = 5.0  # after a failure no note is written

Progress = Mapping[str, Any]


class TaskState(models.TextChoices):
    """PENDING -> RUNNING -> SUCCESS or FAILURE; to PENDING again when its worker was lost."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    SUCCESS = "success", "Success"
    FAILURE = "failure", "Failure"


_ENDED: Final = {"success": TaskState.SUCCESS, "failure": TaskState.FAILURE}


@dataclass(frozen=True, slots=True)
class Followed:
    state: TaskState
    progress: Progress | None = None  # of one that runs
    result: Any = None  # of one that succeeded


def follow(task_id: str) -> Followed:
    """Return how a task is.

    Raises:
        UnknownTaskError: it was never queued, or its result is kept no longer.
        QueueUnavailableError: Redis cannot be reached.
    """
    # The note first: it goes only after the result has come.
    try:
        note = _redis().get(_key(task_id))
    except (RedisError, OSError) as error:
        raise QueueUnavailableError from error
    meta = task_meta(task_id)
    if ended := _ENDED.get(meta.state):
        return Followed(ended, result=meta.result)
    if note is None:
        raise UnknownTaskError(task_id)
    known = json.loads(note)
    return Followed(TaskState(known["state"]), progress=known["progress"])


if TYPE_CHECKING:
    _Task = Task[..., Any]
else:
    _Task = Task


class FollowedTask(_Task):
    """A task that can be followed by whoever queued it and wants its result."""

    abstract = True

    @property
    def followed_id(self) -> str | None:
        """Its id, if it runs for somebody who wants its result."""
        return None if self.request.ignore_result else self.request.id

    def apply_async(  # type: ignore[override]  # what it does not read, it passes on
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> "AsyncResult[Any]":
        """Queue it.

        Raises: as Celery's, and
            RedisError: Redis cannot be reached.
        """
        if not options.get("ignore_result"):
            task_id = options.setdefault("task_id", uuid())
            _write(task_id, TaskState.PENDING)
            publish(TASK, {"task_id": task_id, "state": TaskState.PENDING})
        return super().apply_async(args, kwargs, **options)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if self.followed_id:
            _tried(lambda: _write(task_id, TaskState.RUNNING))
            publish(TASK, {"task_id": task_id, "state": TaskState.RUNNING})

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Tell how it ended: its result is kept by now."""
        ended = _ENDED.get(status.lower())
        if ended and self.followed_id:
            _tried(lambda: _redis().delete(_key(task_id)))
            publish(TASK, {"task_id": task_id, "state": ended})


class ProgressNotes:
    """Writes how far a task is; where Redis has gone, it leaves that for a while."""

    def __init__(self, task_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._task_id = task_id
        self._clock = clock
        self._quiet_until = float("-inf")

    def write(self, progress: Progress) -> None:
        now = self._clock()
        if now < self._quiet_until:
            return
        if not _tried(lambda: _write(self._task_id, TaskState.RUNNING, progress)):
            self._quiet_until = now + QUIET_S


def _write(task_id: str, state: TaskState, progress: Progress | None = None) -> None:
    note = json.dumps({"state": state, "progress": progress})
    _redis().set(_key(task_id), note, ex=NOTE_KEPT_S)


def _tried(write: Callable[[], object]) -> bool:
    """Whether it could be written; a task does not fail by its note."""
    try:
        write()
    except (RedisError, OSError) as error:
        logger.debug("No note of a task: %s", error)
        return False
    return True


def _redis() -> Redis:
    client: Redis = current_app.backend.client  # type: ignore[attr-defined]  # a RedisBackend
    return client


def _key(task_id: str) -> str:
    return f"magi:task:{task_id}"
