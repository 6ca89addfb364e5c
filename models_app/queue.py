"""Hand work to the worker of one node, and wait for it if asked to.

Whoever asks is told within a second that there is no worker, or no Redis.
"""

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
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
AT_ONCE = 16  # nodes that are asked


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


def require_worker(node: str) -> None:
    """Make sure that somebody would do what is queued for `node`; takes a second at most.

    It is the worker itself that answers: one that was killed, or hangs, does not.

    Raises:
        NoWorkerError: no worker of that node answers.
        QueueUnavailableError: the broker cannot be reached.
    """
    control = Control(current_app)
    # It would publish on a connection of the pool. (The stubs have no mailbox.)
    control.mailbox.producer_pool = None  # type: ignore[attr-defined]
    try:
        with quick_connection() as connection:
            answers = control.broadcast(
                "ping",
                connection=connection,
                reply=True,
                timeout=PING_TIMEOUT_S,
                limit=1,
                pattern=f"{node}@*",
                matcher="glob",  # type: ignore[arg-type]  # kombu takes the name of one
            )
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailableError from error
    if not answers:
        raise NoWorkerError(node)


def without_worker(nodes: Collection[str]) -> dict[str, NoWorkerError]:
    """Return those of `nodes` where nobody would do what is queued.

    All are asked at once: it takes a second for as many as AT_ONCE.

    Raises:
        QueueUnavailableError: the broker cannot be reached.
    """
    if not nodes:
        return {}
    with ThreadPoolExecutor(min(len(nodes), AT_ONCE), thread_name_prefix="ping") as pool:
        missing = pool.map(_missing_worker, nodes)
        return {node: error for node, error in zip(nodes, missing, strict=True) if error}


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


def _missing_worker(node: str) -> NoWorkerError | None:
    try:
        require_worker(node)
    except NoWorkerError as error:
        return error
    return None


def _is_ready(result: "AsyncResult[Any]") -> bool:
    try:
        return result.ready()
    except (RedisError, OSError) as error:
        raise QueueUnavailableError from error
