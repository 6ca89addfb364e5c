"""What a task's message says beside its arguments: on account of which request it was queued.

Who is connected here is told of every task, of whichever room: `ready()` of the app imports it.
"""

from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from celery.signals import before_task_publish, task_postrun, task_prerun

from models_app.request_ids import ACCEPTED, current_request_id, set_request_id

HEADER: Final = "magi_request_id"


class TaskRef(NamedTuple):
    id: str
    name: str


_current: Final[ContextVar[TaskRef | None]] = ContextVar("magi_task", default=None)


def current_task() -> TaskRef | None:
    """Return the Celery task that this thread is at."""
    return _current.get()


def header_of(task: Any, name: str) -> str | None:
    """Return what the message of the task that runs now says under a name of ours."""
    request = task.request
    # A worker has them in the request itself, an eager call below `headers`.
    given = request.get(name) or (request.get("headers") or {}).get(name)
    return given if isinstance(given, str) else None


def _on_publish(*, headers: dict[str, Any] | None = None, **_signal: Any) -> None:
    request_id = current_request_id()
    if headers is not None and request_id:
        headers[HEADER] = request_id


def _on_start(*, task_id: str, task: Any, **_signal: Any) -> None:
    _current.set(TaskRef(task_id, task.name))
    given = header_of(task, HEADER)
    # Whoever can write to Redis could have lines of their own in our logs otherwise.
    set_request_id(given if given and ACCEPTED.fullmatch(given) else "")


def _on_end(**_signal: Any) -> None:
    """Forget both: the next task of this thread is on another's account."""
    _current.set(None)
    set_request_id("")


before_task_publish.connect(_on_publish, weak=False)
task_prerun.connect(_on_start, weak=False)
task_postrun.connect(_on_end, weak=False)
