"""Celery's ways to Redis, made to find out within a second that it has gone.

What suits a worker, to try again and again, does not suit whoever waits for an answer.
Measured: with Redis killed, Celery takes 19 s to queue a task that has a result, and with
one that hangs there is no limit at all. docs/decisions/0008-asking-redis.md
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import current_app
from celery.app.amqp import AMQP
from celery.backends.redis import RedisBackend
from kombu import Connection

REDIS_TIMEOUT_S = 0.5  # to connect, and for each answer
BLOCKING_POP_S = 0.05  # closing a connection waits for so long
RETRY_MAX_S: Final = 3  # a worker's longest pause before it tries a broker again


@contextmanager
def quick_connection() -> Iterator[Connection]:
    """Give a new connection to the broker, which tries nothing twice.

    It is opened with its first use: some milliseconds on this machine.
    """
    options = {
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        "socket_timeout": REDIS_TIMEOUT_S,
        "retry_on_timeout": False,
        "max_retries": 0,
        "polling_interval": BLOCKING_POP_S,
    }
    with current_app.connection_for_write(transport_options=options) as connection:
        yield connection


class PolledResults(RedisBackend):
    """Results that are looked for, and never announced.

    Celery would subscribe to each result that may be waited for, on one connection of the
    process, which it tries for 19 s with each call while Redis is away.
    """

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Subscribe to nothing."""


class PatientConnection(Connection):
    """A connection to the broker that is tried again and again, each few seconds.

    Celery's own pauses grow to half a minute: a network that is whole again would not be
    noticed for as long.
    """

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        options["interval_max"] = RETRY_MAX_S
        return super()._ensure_connection(*args, **options)


class PatientBroker(AMQP):
    Connection = PatientConnection
