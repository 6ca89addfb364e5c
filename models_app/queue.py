"""Hand work to the worker of one node, and wait for it if asked to."""

import time
from typing import Any

from celery import Task, current_app
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from models_app.errors import NoWorkerError, QueueUnavailableError

PING_TIMEOUT_S = 1.0
POLL_S = 0.05


def queue_of(node: str) -> str:
    return f"node.{node}"


def enqueue(
    task: "Task[Any, Any]", *args: object, node: str, wants_result: bool = True
) -> "AsyncResult[Any]":
    """Queue `task` for the worker of `node`.

    Args:
        wants_result: False where nobody asks what became of it. A broker that has gone
            is then noticed in a second; a result is waited for on a connection that Celery
            takes twenty seconds to give up.

    Raises:
        QueueUnavailableError: the broker cannot be reached.
    """
    options: dict[str, Any] = {} if wants_result else {"ignore_result": True}
    try:
        return task.apply_async(args, queue=queue_of(node), **options)
    # RuntimeError: Celery has given up the connection on which it is told of results.
    except (OperationalError, RuntimeError) as error:
        raise QueueUnavailableError from error


def require_worker(node: str) -> None:
    """Make sure that somebody would do what is queued for `node`; takes a second at most.

    Raises:
        NoWorkerError: no worker of that node answers.
        QueueUnavailableError: the broker cannot be reached.
    """
    try:
        answers = current_app.control.broadcast(
            "ping",
            reply=True,
            timeout=PING_TIMEOUT_S,
            limit=1,
            pattern=f"{node}@*",
            matcher="glob",  # type: ignore[arg-type]  # kombu takes the name of one
        )
    except (OperationalError, ConnectionError) as error:
        raise QueueUnavailableError from error
    if not answers:
        raise NoWorkerError(node)


def is_done_within(result: "AsyncResult[Any]", seconds: float) -> bool:
    """Wait for a task, and return whether it has ended."""
    deadline = time.monotonic() + seconds
    while not result.ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
