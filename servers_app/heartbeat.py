"""The heartbeat of a worker: the node says every five seconds that it is there.

It runs in a thread of the Celery worker's process (`--pool threads`: the tasks run there,
too), from before the worker has a broker until it ends. So a node is seen, and looks after
its servers, while Redis or any other process is away. Each beat also winds the node's clock.

Nothing is done after a beat that the database did not take: what a node that is cut off
knows may be long untrue.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from celery.signals import celeryd_after_setup, worker_shutdown
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error, connections

from servers_app import nodes
from servers_app.errors import NodeTakenError
from servers_app.nodes import SILENCE_S

log = logging.getLogger(__name__)

PERIOD_S: Final = 5.0
QUIET_S: Final = 10.0  # two reconciles that did not come
STOP_S: Final = 1.0

Chores = Mapping[str, Callable[[], object]]  # by what a log calls them


def beat_in_workers(look_after: Callable[[], None], chores: Chores) -> "Heartbeat":
    """Have the Celery worker of this process beat, if it is one; call it once, at import.

    Returns:
        The heartbeat, which the periodic reconcile tells that it ran.
    """
    heartbeat = Heartbeat(look_after, chores=chores)

    def start(**_signal: Any) -> None:
        heartbeat.start()

    def stop(**_signal: Any) -> None:
        heartbeat.stop()
        heartbeat.leave()

    # Not worker_ready: without a broker it never comes, and with each new one it comes again.
    celeryd_after_setup.connect(start, weak=False)
    worker_shutdown.connect(stop, weak=False)
    return heartbeat


def end_worker() -> None:
    """Have the worker of this process end as its supervisor would have it end."""
    os.kill(os.getpid(), signal.SIGTERM)


class Heartbeat:
    """Two threads: one beats, and starts another where servers are not looked after.

    Args:
        look_after: brings the servers of this node to what is wanted of them. It may take
            its time, and is never called twice at once. The thread's database connections
            are closed after it.
        chores: done after each beat that the database took; they take no time.
        clock: monotonic, seconds.
        when_taken: called once when another worker is this node.
    """

    def __init__(
        self,
        look_after: Callable[[], None],
        *,
        chores: Chores | None = None,
        clock: Callable[[], float] = time.monotonic,
        when_taken: Callable[[], None] = end_worker,
    ) -> None:
        self._looks_after = [look_after]
        self._chores = dict(chores or {})
        self._clock = clock
        self._when_taken = when_taken
        self._reconciled_at = clock()
        self._steady_since: float | None = None
        self._is_alone = False
        self._is_taken = False
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

    def leave(self) -> None:
        """Say that this worker is the node's no more, if it was."""
        if not self._is_taken:
            with self._surviving("The last heartbeat"):
                nodes.leave()

    def reconciled(self) -> None:
        """Note that the periodic reconcile has run."""
        self._is_alone = False
        self._reconciled_at = self._clock()

    def also_look_after(self, look_after: Callable[[], None]) -> None:
        """Have that done, too, where no task comes."""
        self._looks_after.append(look_after)

    @property
    def is_steady(self) -> bool:
        """Whether it has beaten for so long that every node that is there has, too.

        After the database was away, or its clock has jumped, all nodes seem to be silent
        until each has beaten once. Only who is steady may say of another that it is lost.
        """
        since = self._steady_since
        return since is not None and self._clock() - since >= SILENCE_S

    def beat(self) -> None:
        """Beat once, do the chores, and have the servers looked after if nobody else does."""
        if not self._is_written():
            return
        for what, chore in self._chores.items():
            with self._surviving(what):
                chore()
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

    def _is_written(self) -> bool:
        """Beat; whether the database took it, and this worker is the node's."""
        was_silent = None
        with self._surviving("The heartbeat"):
            try:
                was_silent = bool(nodes.beat())
            except NodeTakenError as error:
                self._taken(error)
        if was_silent is None:
            self._steady_since = None
            return False
        self._is_taken = False
        if was_silent or self._steady_since is None:
            self._steady_since = self._clock()
        return True

    def _taken(self, error: NodeTakenError) -> None:
        if not self._is_taken:
            log.error("%s This worker ends.", error)
            self._when_taken()
        self._is_taken = True

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self.beat()
            self._is_stopped.wait(PERIOD_S)

    def _look(self) -> None:
        with self._surviving("Looking after the servers"):
            for look_after in self._looks_after:
                look_after()

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Log the first of a row of failures, and that the row has ended."""
        try:
            yield
        except (Error, ObjectDoesNotExist, OSError) as error:
            if what not in self._failing:
                log.warning("%s failed, and is tried again: %s", what, error)
            self._failing.add(what)
        else:
            if what in self._failing:
                log.info("%s works again", what)
            self._failing.discard(what)
        finally:
            connections.close_all()
