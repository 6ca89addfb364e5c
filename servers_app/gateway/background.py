"""What the gateway has going on beside its requests: shared calls, and what becomes of them."""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Self

from servers_app.gateway.control import AskFor

CALL_INTERVAL_S = 1.0  # between two calls for the same server


class Complaints:
    """Log a failure of the block under it, and go on: once for a series of equal ones.

    A cancellation passes through.
    """

    def __init__(self, logger: logging.Logger, *, failing: str, working: str) -> None:
        """Take a sentence to begin the complaint with, and one for when it works again."""
        self._logger = logger
        self._failing = failing
        self._working = working
        self._last: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            if self._last is not None:
                self._logger.info(self._working)
            self._last = None
            return False
        if not isinstance(error, Exception):
            return False
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._last:
            self._logger.error("%s %s", self._failing, complaint, exc_info=error)
        self._last = complaint
        return True


class SharedCalls:
    """Calls about servers: who wants the one that another made within a second shares it.

    A call goes on when those who wait for it have left. Its failures are complaints.
    """

    def __init__(self, call: AskFor, complaints: Complaints) -> None:
        self._call = call
        self._complaints = complaints
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._called_at: dict[int, float] = {}  # the loop's clock

    def start(self, server_id: int) -> asyncio.Task[None]:
        now = asyncio.get_running_loop().time()
        task = self._calls.get(server_id)
        is_old = now - self._called_at.get(server_id, float("-inf")) >= CALL_INTERVAL_S
        if task is None or (task.done() and is_old):
            task = self._calls[server_id] = asyncio.create_task(self._run(server_id))
            self._called_at[server_id] = now
        return task

    async def close(self) -> None:
        for task in self._calls.values():
            await cancelled(task)

    async def _run(self, server_id: int) -> None:
        with self._complaints:
            await self._call(server_id)


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
