"""What goes between the thread that fetches and the one that looks after it.

The one that fetches may wait for a hub at any time; the other never does. So a download
is cancelled at once, whatever its hub does.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from models_app.errors import UnavailableError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
PROXY_HINT = "Behind a proxy, set HTTPS_PROXY."
MAX_FAILURES = 7  # in a row, without a byte between them: half a minute of pauses

T = TypeVar("T")


class StoppedError(Exception):
    """Nobody wants it any more, or this process ends."""


class NotYetError(Exception):
    """It cannot be done now, and will go on by itself: its text says what it waits for."""


class TryAgainError(Exception):
    """A failure that may pass: a cut, a stall, an answer such as 503.

    Args:
        after_s: as the hub asks for.
        has_moved: whether there is more of the file by then than there ever was.
    """

    def __init__(self, reason: str, *, after_s: float = 0, has_moved: bool = False) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.has_moved = has_moved


class Bucket:
    """No more than so many bytes a second, for all who take from it."""

    def __init__(self, bytes_per_s: int) -> None:
        self._seconds_each = 1 / bytes_per_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> float:
        """Return how many seconds to wait after so many bytes."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + n_bytes * self._seconds_each
            return self._free_at - now


class Control:
    """One download at work: how far it is, and whether it is to go on."""

    def __init__(self, buckets: Sequence[Bucket] = ()) -> None:
        self._buckets = buckets
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self.done_bytes: dict[str, int] = {}  # by name
        self._furthest: dict[str, int] = {}
        self.hashing = ""  # the name of the file whose bytes are being checked
        self.last_failure = ""  # while it is tried again

    def stop(self) -> None:
        """Have it end soon: at its next byte, and at once where it waits for one."""
        self._stop.set()
        if (connection := self._socket) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise StoppedError if it is to end."""
        if self._stop.is_set():
            raise StoppedError

    def wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError

    def reading(self, connection: "socket.socket | None") -> None:
        """Note what it waits at."""
        self._socket = connection
        if connection is not None:
            self.check()

    def has(self, name: str, n_bytes: int) -> None:
        self.done_bytes[name] = n_bytes

    def is_further(self, name: str, n_bytes: int) -> bool:
        """Whether a file has come further than ever; one that begins anew each time has not."""
        if n_bytes <= self._furthest.get(name, 0):
            return False
        self._furthest[name] = n_bytes
        return True

    def came(self, name: str, n_bytes: int) -> None:
        """Count bytes, and wait where they were too many at once."""
        self.done_bytes[name] = self.done_bytes.get(name, 0) + n_bytes
        self.last_failure = ""
        pause = max((bucket.take(n_bytes) for bucket in self._buckets), default=0)
        if pause > 0:
            self.wait(pause)

    def patiently(self, attempt: Callable[[], T], what: str, hint: str = PROXY_HINT) -> T:
        """Return what `attempt` returns, tried again after a pause as often as it may help.

        Args:
            what: does not answer, in the error's words.
            hint: what to do then.

        Raises:
            UnavailableError: it failed MAX_FAILURES times, and nothing came between.
        """
        failures = 0
        while True:
            self.check()
            try:
                return attempt()
            except TryAgainError as error:
                self.check()  # what stop() cut is no failure
                failures = 1 if error.has_moved else failures + 1
                self.last_failure = str(error)
                if failures >= MAX_FAILURES:
                    msg = (
                        f"{what} does not answer as it should: {error}. Ask again later: it "
                        f"goes on where it stopped. {hint}"
                    )
                    raise UnavailableError(msg) from error
                pause = max(error.after_s, FIRST_PAUSE_S * 2 ** (failures - 1))
                self.wait(min(pause, LONGEST_PAUSE_S))
