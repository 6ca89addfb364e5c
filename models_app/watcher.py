"""Watch the scan roots of a node, and have them rescanned when something lands in one."""

import logging
import threading
import time
from collections.abc import Iterator, Set
from pathlib import Path

from django.db import Error as DatabaseError
from django.db import connection
from watchfiles import Change, watch
from watchfiles.main import FileChange

from models_app import tasks
from models_app.errors import QueueUnavailableError
from models_app.models import ScanRoot
from models_app.queue import enqueue
from models_app.watching import Landings, matters

logger = logging.getLogger(__name__)

Roots = dict[str, tuple[int, int]]  # path -> device and inode: a new folder is another root

REREAD_S = 30.0  # the list of roots; also until folders that cannot be watched are tried again
RETRY_S = 5.0  # the queue, after it could not be reached
TICK_MS = 1000  # how often what has come to rest is looked at
STEP_MS = 100  # how often the system is asked for changes, and the signal to stop is seen
GATHER_MS = 400  # changes within so long are given at once


class Watcher:
    """Watches until `stop` is set, whatever becomes of the roots, Redis or the database."""

    def __init__(
        self,
        node: str,
        stop: threading.Event,
        *,
        landings: Landings | None = None,
        reread_s: float = REREAD_S,
    ) -> None:
        self._node = node
        self._stop = stop
        self._reread_s = reread_s
        self._reread_at = 0.0  # monotonic, seconds
        self._ask_at = 0.0
        self._roots: Roots = {}
        self._landings = landings or Landings()

    def run(self) -> None:
        self._note_unseen()
        while not self._stop.is_set():
            self._read_roots()
            logger.info("Watching %s", ", ".join(self._roots) or "for scan roots: none is here")
            for changes in self._changes():
                for _, path in changes:
                    self._landings.note(path, time.monotonic())
                self._ask_if_due()
                if self._must_begin_again(changes):
                    break

    def _must_begin_again(self, changes: Set[FileChange]) -> bool:
        # A root that was deleted is watched no more, whatever is there of its name by now.
        if any(path in self._roots for _, path in changes):
            return True
        return time.monotonic() >= self._reread_at and self._read_roots()

    def _changes(self) -> Iterator[Set[FileChange]]:
        """Yield what changed, and nothing every second, until `stop` is set.

        Where nothing can be watched, it ends after half a minute, to try again.
        """
        if self._roots:
            try:
                yield from watch(
                    *self._roots,
                    watch_filter=self._matters,
                    debounce=GATHER_MS,
                    step=STEP_MS,
                    rust_timeout=TICK_MS,
                    yield_on_timeout=True,
                    stop_event=self._stop,
                    ignore_permission_denied=True,
                )
            # Gone in between, or more folders than the system watches; watchfiles' own
            # error is a RuntimeError.
            except (OSError, RuntimeError) as error:
                logger.warning("Cannot watch; rescanning every %g s: %s", self._reread_s, error)
                self._note_unseen()
        until = time.monotonic() + self._reread_s
        while time.monotonic() < until and not self._stop.wait(TICK_MS / 1000):
            yield set()

    def _matters(self, change: Change, path: str) -> bool:
        return matters(change, path, self._roots, is_folder=lambda name: Path(name).is_dir())

    def _read_roots(self) -> bool:
        """Read which roots are enabled and there; return whether those are others now."""
        self._reread_at = time.monotonic() + self._reread_s
        try:
            enabled = ScanRoot.objects.filter(node=self._node, is_enabled=True)
            paths = list(enabled.values_list("path", flat=True))
        except DatabaseError as error:
            logger.warning("The list of scan roots stays as it was: %s", error)
            return False
        finally:
            connection.close()  # for half a minute it has no use
        known, self._roots = self._roots, _existing(paths)
        if self._roots == known:
            return False
        self._note_unseen()
        return True

    def _note_unseen(self) -> None:
        """Have all roots rescanned: something may have landed while nobody watched."""
        self._landings.note("", time.monotonic())

    def _ask_if_due(self) -> None:
        now = time.monotonic()
        if now < self._ask_at or not self._landings.is_due(now):
            return
        try:
            enqueue(tasks.rescan, self._node, node=self._node, wants_result=False)
        except QueueUnavailableError as error:
            self._ask_at = now + RETRY_S
            logger.warning("%s", error)
            return
        self._landings.forget_settled(now)
        logger.info("Something changed: a rescan of node %s is queued.", self._node)


def _existing(paths: list[str]) -> Roots:
    roots = {}
    for path in paths:
        try:
            status = Path(path).stat()
        except (OSError, ValueError):
            continue
        roots[path] = (status.st_dev, status.st_ino)
    return roots
