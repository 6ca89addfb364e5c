"""Locks that one node's processes share: flock on a file in the data folder.

The kernel lets go of them when their holder dies, however it dies, so nothing
is ever left locked and nothing needs an expiry.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    folder = Path(settings.MAGI_RUN_DIR) / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        held = _try(file.fileno())
        while not held and wait is not None and wait():
            time.sleep(POLL_SECONDS)
            held = _try(file.fileno())
        yield held  # closing the file lets go


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
