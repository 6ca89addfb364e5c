"""Hand work to the worker of one node, and wait for it if asked to.

Whoever asks is told within a second that there is no worker, or no Redis.
"""

import re
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from celery import Task, current_app
from celery.app.control import Control
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from redis import RedisError

from models_app.broker import quick_connection
from models_app.errors import NoWorkerError, QueueUnavailableError

PING_TIMEOUT_S = 0.7  # for the answer of a worker
POLL_S = 0.05
CLUSTER = "cluster"  # the queue of what any worker may do, and one is to


class TaskMeta(NamedTuple):
    """What is known of a task: nothing of one that is queued, or was never there."""

    state: str  # pending, started, success, failure, …
    result: Any  # of one that succeeded


def queue_of(node: str) -> str:
    return f"node.{node}"


def enqueue(
    task: "Task[Any, Any]", *args: object, node: str, wants_result: bool = True
) -> "AsyncResult[Any]":
    """Queue `task` for the worker of `node`.

    Args:
        wants_result: False where nobody asks what became of it.

    Raises:
        QueueUnavailableError: the broker cannot be reached.
    """
    options: dict[str, Any] = {} if wants_result else {"ignore_result": True}
    try:
        with quick_connection() as connection:
            producer = current_app.amqp.Producer(connection, auto_declare=False)
            return task.apply_async(
                args, queue=queue_of(node), producer=producer, retry=False, **options
            )
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailableError from error


def waiting_for(node: str) -> int | None:
    """Return how many tasks wait for the worker of `node`; None while Redis is away."""
    try:
        with quick_connection() as connection:
            channel: Any = connection.default_channel
            return int(channel.client.llen(queue_of(node)))
    except (OperationalError, RedisError, OSError):
        return None


def require_worker(node: str) -> None:
    """Make sure that somebody would do what is queued for `node`; takes a second at most.

    It is the worker itself that answers: one that was killed, or hangs, does not.

    Raises:
        NoWorkerError: no worker of that node answers.
        QueueUnavailableError: the broker cannot be reached.
    """
    if missing := without_worker([node]).get(node):
        raise missing


def without_worker(nodes: Collection[str]) -> dict[str, NoWorkerError]:
    """Return those of `nodes` where nobody would do what is queued.

    All are asked at once: it takes no longer for a hundred than for one.

    Raises:
        QueueUnavailableError: the broker cannot be reached.
    """
    if not nodes:
        return {}
    control = Control(current_app)
    # It would publish on a connection of the pool. (The stubs have no mailbox.)
    control.mailbox.producer_pool = None  # type: ignore[attr-defined]
    names = "|".join(map(re.escape, nodes))
    try:
        with quick_connection() as connection:
            answers = control.broadcast(
                "ping",
                connection=connection,
                reply=True,
                timeout=PING_TIMEOUT_S,
                limit=len(nodes),
                pattern=f"(?:{names})@",
                matcher="pcre",  # type: ignore[arg-type]  # kombu takes the name of one
            )
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailableError from error
    there = {name.partition("@")[0] for answer in answers or () for name in answer}
    return {node: NoWorkerError(node) for node in nodes if node not in there}


def is_done_within(result: "AsyncResult[Any]", seconds: float) -> bool:
    """Wait for a task, and return whether it has ended.

    Raises:
        QueueUnavailableError: Redis, which would have told of it, has gone.
    """
    deadline = time.monotonic() + seconds
    while not _is_ready(result):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def task_meta(task_id: str) -> TaskMeta:
    """Return what has become of a task; results are kept for an hour.

    Raises:
        QueueUnavailableError: Redis cannot be reached.
    """
    try:
        meta = current_app.backend.get_task_meta(task_id, cache=False)
    except (RedisError, OSError) as error:
        raise QueueUnavailableError from error
    state = str(meta["status"]).lower()
    return TaskMeta(state, meta["result"] if state == "success" else None)


def _is_ready(result: "AsyncResult[Any]") -> bool:
    try:
        return result.ready()
    except (RedisError, OSError) as error:
        raise QueueUnavailableError from error
