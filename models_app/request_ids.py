"""The id of the request on whose account something is done: one id in answers, tasks and logs.

It is a context variable, so it goes where Python takes one by itself: into the tasks of an
event loop and the threads that a view or the gateway waits for. A Celery task has it from
its message (`models_app/task_signals.py`); a thread that is started by hand has none.
"""

import itertools
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# What a client may call its request. Nothing in it breaks a line, a header or a query.
ACCEPTED: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
ANSWER_HEADER: Final = "X-Magi-Request-Id"

_process: Final = secrets.token_hex(8)
_count: Final = itertools.count(1)
_current: Final[ContextVar[str]] = ContextVar("magi_request_id", default="")


def current_request_id() -> str:
    """Return the id of the request that this is done for; empty where there is none."""
    return _current.get()


def set_request_id(request_id: str) -> None:
    """Say for whom the rest of this context works, such as a task of the loop."""
    _current.set(request_id)


@contextmanager
def with_request_id(request_id: str) -> Iterator[None]:
    """Have what the block does, and what it queues, be for that request."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def accepted_or_new(given: str | None) -> str:
    """Return the id that a client gave, if it is one, else one that no other request has."""
    if given and ACCEPTED.fullmatch(given):
        return given
    return f"{_process}{next(_count):016x}"
