"""What a node's worker does for its node again and again: put on its own queue when it is due.

The worker's heartbeat winds this clock. So each node has its own, no other process has to be
there for it, and a hundred nodes cost no more than one.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError
from redis import RedisError

from models_app.broker import quick_connection
from models_app.queue import queue_of

log = logging.getLogger(__name__)

SLACK_S: Final = 0.5  # of a beat that came a little early
AT_ONCE_S: Final = 60  # what is done more often than that is done when a worker begins, too


class NodeClock:
    """Queues what is due of a schedule.

    Args:
        schedule: seconds by the name of a task, which is given the node's name.
        clock: monotonic, seconds.
    """

    def __init__(
        self, schedule: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._due_at: dict[str, float] = {}
        self._is_failing = False

    def tick(self) -> None:
        """Queue what is due; what the queue does not take is due still."""
        now = self._clock()
        if not self._due_at:
            self._due_at = {
                task: now if period < AT_ONCE_S else now + period
                for task, period in self._schedule.items()
            }
        due = [task for task, at in self._due_at.items() if now >= at - SLACK_S]
        if not due:
            return
        try:
            self._queue(due)
        except (OperationalError, RedisError, OSError) as error:
            if not self._is_failing:
                log.warning("Nothing can be queued; it is tried again: %s", error)
            self._is_failing = True
            return
        if self._is_failing:
            log.info("The queue takes tasks again")
        self._is_failing = False
        self._due_at |= {task: now + self._schedule[task] for task in due}

    def _queue(self, tasks: Iterable[str]) -> None:
        node = settings.MAGI_NODE
        with quick_connection() as connection:
            producer = current_app.amqp.Producer(connection, auto_declare=False)
            for task in tasks:
                current_app.send_task(
                    task,
                    (node,),
                    queue=queue_of(node),
                    # Below the period, so that a worker that was busy runs no backlog.
                    expires=self._schedule[task] - 1,
                    producer=producer,
                    retry=False,
                    ignore_result=True,
                )
