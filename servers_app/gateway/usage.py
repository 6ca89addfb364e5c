"""Which servers are in use, and the writing down of it: an idle one may be stopped."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from servers_app.gateway.background import Complaints
from servers_app.gateway.control import NoteUse

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S: Final = 1.0
IN_USE_INTERVAL_S: Final = 5.0  # a long answer is written down so often while it comes


class Usage:
    """The requests by server, and what of that has not been written down yet."""

    def __init__(self, note_use: NoteUse) -> None:
        self.in_flight: Counter[int] = Counter()  # requests by server id
        self._waited_for: Counter[int] = Counter()
        self._note_use = note_use
        self._noted: set[int] = set()
        self._is_noted = asyncio.Event()
        self._complaints = Complaints(
            logger,
            failing="When servers were last used could not be written down.",
            working="When servers were last used is written down again.",
        )

    @contextmanager
    def relaying(self, server_id: int) -> Iterator[None]:
        """Count a request that a server works on."""
        self._note(server_id)
        with _counted(self.in_flight, server_id):
            try:
                yield
            finally:
                self._note(server_id)

    @contextmanager
    def waiting(self, server_id: int) -> Iterator[None]:
        """Keep a server in use that a request waits for."""
        with _counted(self._waited_for, server_id):
            yield

    async def keep_noted(self) -> None:
        """Write each use down within a second, all servers in one go. Ends when cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IN_USE_INTERVAL_S - WRITE_INTERVAL_S):
                    await self._is_noted.wait()
            used = self._noted | self.in_flight.keys() | self._waited_for.keys()
            self._noted = set()
            self._is_noted.clear()
            if used:
                with self._complaints:
                    await self._note_use(used)
            await asyncio.sleep(WRITE_INTERVAL_S)

    def _note(self, server_id: int) -> None:
        self._noted.add(server_id)
        self._is_noted.set()


@contextmanager
def _counted(counter: Counter[int], server_id: int) -> Iterator[None]:
    counter[server_id] += 1
    try:
        yield
    finally:
        counter[server_id] -= 1
        if not counter[server_id]:
            del counter[server_id]
