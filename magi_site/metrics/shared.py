"""What the web processes of a machine have counted, each in a file that all of them read.

Whichever process is asked for metrics answers for all. A process holds a lock of the kernel
on its file's neighbour for as long as it lives, so one that was killed is known to be gone:
its counts are added to those of the others that ended, its gauges go, and so do its files.
docs/decisions/0011-metrics-of-many-processes.md
"""

import fcntl
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from servers_app.gateway.gauges import Gauges
from servers_app.gateway.metrics import Counts

logger = logging.getLogger(__name__)

ENDED: Final = "ended.json"
MERGING: Final = "merging"  # the lock under which processes come, and ended ones go
MERGE_WAIT_S: Final = 0.5
_POLL_S: Final = 0.01
# What comes of reading a file that another version wrote, or nobody finished.
_UNREADABLE: Final = (OSError, ValueError, KeyError, TypeError, IndexError)


class Told(NamedTuple):
    """What all processes come to: those that ended count, and have nothing in hand."""

    counts: Counts
    gauges: tuple[Gauges, ...]  # of each process that lives


class SharedCounts:
    """The folder of one process's counts and its neighbours'. Its methods block shortly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._id = secrets.token_hex(8)  # a pid comes again, and two containers have the same
        self._held: IO[str] | None = None
        self._writing = threading.Lock()  # by who is asked, and once a second

    def open(self) -> None:
        """Take a place among those that count; where nobody else does, begin at nothing.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._merging() as is_alone:
            if is_alone and not any(map(_is_held, self._folder.glob("*.lock"))):
                for path in self._folder.glob("*.*"):
                    if path != self._lock(MERGING):  # it is held just now
                        path.unlink(missing_ok=True)
            self._held = self._lock(self._id).open("w")
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, counts: Mapping[str, Any], gauges: Mapping[str, Any]) -> None:
        """Write down what this process has counted.

        Raises:
            OSError: it cannot be written.
        """
        with self._writing:
            _write(self._counts(self._id), {"counts": counts, "gauges": gauges})

    def read(self) -> Told:
        """Return what all have counted that live or ended since the first of them began.

        Nothing is in it that no file has, so what was told once is never taken back.
        """
        with self._merging() as is_alone:
            if is_alone:
                self._merge_ended()
            counts, gauges = _counts_in(self._folder / ENDED), []
            for path in sorted(self._folder.glob("*.json")):
                if path.name == ENDED:
                    continue
                with suppress(*_UNREADABLE):
                    told = json.loads(path.read_text())
                    counts.add(Counts.from_json(told["counts"]))
                    if _is_held(self._lock(path.stem)):
                        gauges.append(Gauges.from_json(told["gauges"]))
        return Told(counts, tuple(gauges))

    def close(self) -> None:
        """Leave: the next one that is asked adds what is written to that of the ended ones."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def _merge_ended(self) -> None:
        """Add the counts of those that are gone to ENDED, and remove their files.

        Whose counts are in it is written with them: a process that is killed between the two
        steps has nothing counted twice.
        """
        ids = [path.stem for path in self._folder.glob("*.lock") if not _is_held(path)]
        ids = [id_ for id_ in ids if id_ != MERGING]
        if not ids:
            return
        path = self._folder / ENDED
        counts, merged = _counts_in(path), _merged_in(path)
        for id_ in ids:
            if id_ not in merged:
                counts.add(_counts_in(self._counts(id_)))
        try:
            _write(path, {"counts": counts.as_json(), "merged": ids})
        except OSError as error:
            logger.warning("What ended web processes have counted stays apart: %s", error)
            return
        for id_ in ids:
            self._counts(id_).unlink(missing_ok=True)
            self._lock(id_).unlink(missing_ok=True)

    @contextmanager
    def _merging(self) -> Iterator[bool]:
        """Yield whether nobody else comes or goes meanwhile; it is not waited for for long."""
        with (self._folder / f"{MERGING}.lock").open("w") as file:
            deadline = time.monotonic() + MERGE_WAIT_S
            while not (is_alone := _take(file)) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            yield is_alone

    def _counts(self, id_: str) -> Path:
        return self._folder / f"{id_}.json"

    def _lock(self, id_: str) -> Path:
        return self._folder / f"{id_}.lock"


def _is_held(path: Path) -> bool:
    """Whether the process lives whose lock this is. The lock of `MERGING` is nobody's."""
    if path.stem == MERGING:
        return False
    try:
        with path.open("r") as file:
            return not _take(file)
    except FileNotFoundError:
        return False


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _counts_in(path: Path) -> Counts:
    try:
        return Counts.from_json(json.loads(path.read_text())["counts"])
    except _UNREADABLE:
        return Counts()


def _merged_in(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(path.read_text())["merged"])
    except _UNREADABLE:
        return frozenset()


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Write it whole, or leave what was there. Only this process writes that file."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, separators=(",", ":")))
    temporary.replace(path)
