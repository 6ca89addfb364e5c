"""The requests that are over, until they are written down: in batches, beside the requests."""

import asyncio
import logging
from collections import deque
from typing import Final

from servers_app.gateway.background import Complaints, cancelled
from servers_app.gateway.control import Record
from servers_app.gateway.trace import Trace

logger = logging.getLogger(__name__)

MAX_UNWRITTEN: Final = 10_000
# The writer shares the interpreter with the answers that are streamed meanwhile.
BATCH: Final = 200
WRITE_INTERVAL_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 5.0  # a database that is away does not keep the gateway from ending


class Ledger:
    """Requests that are over and not written down yet: MAX_UNWRITTEN and one batch at most.

    A batch that could not be written is tried again as it was, after WRITE_INTERVAL_S.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._unwritten: deque[Trace] = deque()
        self._batch: list[Trace] = []  # taken out to be written
        self._writing: asyncio.Task[None] | None = None
        self._has_some = asyncio.Event()
        self._is_dropping = False
        self._complaints = Complaints(
            logger,
            failing="Requests could not be written down; they are kept to be tried again.",
            working="Requests are written down again.",
        )

    def done(self, trace: Trace) -> None:
        """Have a request written down that is over. Raises nothing, and waits for nothing.

        Where too many wait, the oldest goes.
        """
        if len(self._unwritten) >= MAX_UNWRITTEN:
            self._unwritten.popleft()
            if not self._is_dropping:
                self._is_dropping = True
                logger.error(
                    "More than %s requests wait to be written down. The oldest are dropped.",
                    MAX_UNWRITTEN,
                )
        self._unwritten.append(trace)
        self._has_some.set()

    async def keep_written(self) -> None:
        """Write down about once a second what there is. Ends when cancelled."""
        while True:
            await self._has_some.wait()
            await asyncio.sleep(WRITE_INTERVAL_S)
            await self._write_all()

    async def close(self) -> None:
        """Write down what is left, for CLOSE_TIMEOUT_S at most. Raises nothing.

        To be called when `keep_written` has ended.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self._writing is not None:
                    await asyncio.shield(self._writing)
                await self._write_all()
        except TimeoutError:
            if self._writing is not None:
                await cancelled(self._writing)
        lost = len(self._batch) + len(self._unwritten)
        if lost:
            logger.error("%s requests may not have been written down before the end.", lost)

    async def _write_all(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        # Going on when its caller is cancelled: a batch that was cut off would be in doubt.
        await asyncio.shield(self._writing)

    async def _write(self) -> None:
        """Write one batch after the other, until none is left or one fails."""
        try:
            while self._batch or self._unwritten:
                if not self._batch:
                    size = min(BATCH, len(self._unwritten))
                    self._batch = [self._unwritten.popleft() for _ in range(size)]
                with self._complaints:
                    await self._record(self._batch)
                    self._batch = []
                if self._batch:
                    return
            self._has_some.clear()
            self._is_dropping = False
        finally:
            self._writing = None
