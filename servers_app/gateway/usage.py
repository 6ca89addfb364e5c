"""Which servers are in use, and the writing down of it: an idle one may be stopped."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from servers_app.gateway.background import Complaints
from servers_app.gateway.control import NoteUse

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S: Final = 1.0
IN_USE_INTERVAL_S: Final = 5.0  # a long answer is written down so often while it comes

# Takes a server id and for how many seconds it worked; None if it failed or had no request.
OnFree = Callable[[int, float | None], None]


class Usage:
    """The requests by server, and what of that has not been written down yet.

    Attributes:
        in_flight: requests by server id, that a server works on or is about to get.
            There is no other count of taken slots.
        waited_for: requests by server id, that wait for it to be ready.
        on_free: told of every slot that becomes free.
    """

    def __init__(self, note_use: NoteUse) -> None:
        self.in_flight: Counter[int] = Counter()
        self.on_free: OnFree = _tell_nobody
        self.waited_for: Counter[int] = Counter()
        self._claimed: Counter[int] = Counter()  # of those in flight: not yet relayed
        self._note_use = note_use
        self._noted: set[int] = set()
        self._is_noted = asyncio.Event()
        self._complaints = Complaints(
            logger,
            failing="When servers were last used could not be written down.",
            working="When servers were last used is written down again.",
        )

    def claim(self, server_id: int) -> None:
        """Count a request that `relaying` is entered for, or else `unclaim` called, once."""
        _add_one(self.in_flight, server_id)
        _add_one(self._claimed, server_id)

    def unclaim(self, server_id: int) -> None:
        _take_one(self._claimed, server_id)
        self._free(server_id, None)

    def relaying(self, server_id: int) -> "Relaying":
        """Count a request that a server works on: one that was claimed, if there is one."""
        return Relaying(self, server_id)

    def begin(self, server_id: int) -> None:
        self._note(server_id)
        if server_id in self._claimed:
            _take_one(self._claimed, server_id)
        else:
            _add_one(self.in_flight, server_id)

    def end(self, server_id: int, worked_s: float | None) -> None:
        self._note(server_id)
        self._free(server_id, worked_s)

    @contextmanager
    def waiting(self, server_id: int) -> Iterator[None]:
        """Keep a server in use that a request waits for."""
        _add_one(self.waited_for, server_id)
        try:
            yield
        finally:
            _take_one(self.waited_for, server_id)

    async def keep_noted(self) -> None:
        """Write each use down within a second, all servers in one go. Ends when cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IN_USE_INTERVAL_S - WRITE_INTERVAL_S):
                    await self._is_noted.wait()
            used = self._noted | self.in_flight.keys() | self.waited_for.keys()
            self._noted = set()
            self._is_noted.clear()
            if used:
                with self._complaints:
                    await self._note_use(used)
            await asyncio.sleep(WRITE_INTERVAL_S)

    def _note(self, server_id: int) -> None:
        self._noted.add(server_id)
        self._is_noted.set()

    def _free(self, server_id: int, worked_s: float | None) -> None:
        _take_one(self.in_flight, server_id)
        self.on_free(server_id, worked_s)


class Relaying:
    """The block in which a server works on a request. No generator: each request has one."""

    __slots__ = ("_began", "_server_id", "_usage")

    def __init__(self, usage: Usage, server_id: int) -> None:
        self._usage = usage
        self._server_id = server_id

    def __enter__(self) -> None:
        self._usage.begin(self._server_id)
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        # When the client has left, too: until then the server worked.
        is_failed = kind is not None and issubclass(kind, Exception)
        worked_s = None if is_failed else time.monotonic() - self._began
        self._usage.end(self._server_id, worked_s)


# By get() and pop(): a Counter's own ways of doing these are written in Python.
def _add_one(counter: Counter[int], server_id: int) -> None:
    counter[server_id] = counter.get(server_id, 0) + 1


def _take_one(counter: Counter[int], server_id: int) -> None:
    left = counter.pop(server_id) - 1
    if left:
        counter[server_id] = left


def _tell_nobody(_server_id: int, _worked_s: float | None) -> None:
    pass
