"""The heartbeat of a worker: the node says every five seconds that it is there.

It runs in a thread of the Celery worker's process (`--pool threads`: the tasks run there,
too), from before the worker has a broker until it ends. So a node is seen, and looks after
its servers, while Redis or the beat process is away.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery.signals import celeryd_after_setup, worker_shutdown
from django.db import Error, connections

from servers_app import nodes

log = logging.getLogger(__name__)

PERIOD_S: Final = 5.0
QUIET_S: Final = 15.0  # three reconciles that did not come
STOP_S: Final = 1.0


def beat_in_workers(look_after: Callable[[], None]) -> "Heartbeat":
    """Have the Celery worker of this process beat, if it is one; call it once, at import.

    Returns:
        The heartbeat, which the periodic reconcile tells that it ran.
    """
    heartbeat = Heartbeat(look_after)

    def start(**_signal: Any) -> None:
        heartbeat.start()

    def stop(**_signal: Any) -> None:
        heartbeat.stop()

    # Not worker_ready: without a broker it never comes, and with each new one it comes again.
    celeryd_after_setup.connect(start, weak=False)
    worker_shutdown.connect(stop, weak=False)
    return heartbeat


class Heartbeat:
    """Two threads: one beats, and starts another where servers are not looked after.

    Args:
        look_after: brings the servers of this node to what is wanted of them. It may take
            its time, and is never called twice at once. The thread's database connections
            are closed after it.
        clock: monotonic, seconds.
    """

    def __init__(
        self, look_after: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_after = look_after
        self._clock = clock
        self._reconciled_at = clock()
        self._is_alone = False
        self._failing: set[str] = set()
        self._is_stopped = threading.Event()
        self._beating: threading.Thread | None = None
        self._looking: threading.Thread | None = None

    def start(self) -> None:
        """Start to beat; when it does already, nothing changes."""
        if self._beating is not None and self._beating.is_alive():
            return
        self._is_stopped.clear()
        self._reconciled_at = self._clock()
        self._beating = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._beating.start()

    def stop(self) -> None:
        """Stop to beat, within a second; who looks after servers ends with the process."""
        self._is_stopped.set()
        if self._beating is not None:
            self._beating.join(STOP_S)

    def reconciled(self) -> None:
        """Note that the periodic reconcile has run."""
        self._is_alone = False
        self._reconciled_at = self._clock()

    def beat(self) -> None:
        """Beat once, and have the servers looked after if the reconcile does not come."""
        with self._surviving("The heartbeat"):
            nodes.beat()
        is_looking = self._looking is not None and self._looking.is_alive()
        if is_looking or self._clock() - self._reconciled_at < QUIET_S:
            return
        if not self._is_alone:
            log.warning(
                "No reconcile has come for %d s: servers are looked after here", QUIET_S
            )
        self._is_alone = True
        self._reconciled_at = self._clock()
        # In a thread of its own: a model may take minutes to load.
        self._looking = threading.Thread(target=self._look, name="look-after", daemon=True)
        self._looking.start()

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self.beat()
            self._is_stopped.wait(PERIOD_S)

    def _look(self) -> None:
        with self._surviving("Looking after the servers"):
            self._look_after()

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Log the first of a row of failures, and that the row has ended."""
        try:
            yield
        except (Error, OSError) as error:
            if what not in self._failing:
                log.warning("%s failed, and is tried again: %s", what, error)
            self._failing.add(what)
        else:
            if what in self._failing:
                log.info("%s works again", what)
            self._failing.discard(what)
        finally:
            connections.close_all()
