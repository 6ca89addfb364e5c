"""Locks that one node's processes share: flock on a file in the data folder.

The kernel lets go of them when their holder dies, however it dies, so nothing
is ever left locked and nothing needs an expiry.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from django.conf import settings

POLL_SECONDS = 0.05


@contextmanager
def node_lock(name: str, *, wait: Callable[[], bool] | None = None) -> Iterator[bool]:
    """Hold the lock `name`; yield whether it was got.

    Threads of one process exclude each other like processes do: each call opens
    the file anew, and flock belongs to the open file.

    Args:
        name: lower case letters, digits and dashes.
        wait: asked every 50 ms while another holds the lock; False gives up.
            Without it, a held lock is given up at once.
    """
    path = _folder() / f"{name}.lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = _take(path)
    while file is None and wait is not None and wait():
        time.sleep(POLL_SECONDS)
        file = _take(path)
    try:
        yield file is not None
    finally:
        if file is not None:
            file.close()  # and lets go


def locks_from_before(moment: float) -> list[str]:
    """Return the names of the locks that nobody has asked for since `moment`, Unix time."""
    names = []
    for path in _folder().glob("*.lock"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < moment:
                names.append(path.stem)
    return sorted(names)


def forget_lock(name: str) -> bool:
    """Remove the file of a lock that nobody holds; return whether it was."""
    with node_lock(name) as held:
        if held:
            (_folder() / f"{name}.lock").unlink(missing_ok=True)
        return held


def _folder() -> Path:
    return Path(settings.MAGI_RUN_DIR) / "locks"


def _take(path: Path) -> IO[str] | None:
    """Return the open file that holds the lock; None while another holds it."""
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        if _is_at(file, path):
            return file
        file.close()  # it was forgotten meanwhile: who comes now opens another one


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
