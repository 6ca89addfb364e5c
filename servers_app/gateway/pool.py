"""The connections to all llama-servers, each kept a while for the next request."""

import asyncio
from typing import Final

from servers_app.gateway.http1 import (
    Connection,
    CutOffError,
    NoAnswerError,
    NotConnectedError,
    Timeouts,
    origin_of,
)
from servers_app.gateway.lifelines import connected, is_cut_off

KEEPALIVE_S: Final = 3.0  # llama-server closes an idle connection after 5
_LONGEST_TICK_S: Final = 1.0


class Pool:
    """Made inside the running event loop; `close()` when done."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: dict[str, list[Connection]] = {}  # by base URL, the last used last
        shortest_s = min(timeouts.connect_s, timeouts.first_byte_s, timeouts.idle_s)
        self._tick_s = min(_LONGEST_TICK_S, shortest_s / 4)
        self._tick: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        for connection in list(self._open):
            connection.abort()

    async def ask(self, base_url: str, head: bytes, body: bytes) -> Connection:
        """Send a request and wait for the head of its answer.

        Raises:
            WireError: but no BrokenAnswerError.
        """
        kept = self._take(base_url)
        if kept is None:
            connection = await self._connect(base_url)
            await connection.ask(head, body)
            return connection
        try:
            await kept.ask(head, body)
        except NoAnswerError:
            if kept.is_heard:
                raise
        else:
            return kept
        # As a rule it had closed the idle connection when our request was on its way.
        try:
            connection = await self._connect(base_url)
        except NotConnectedError as error:
            message = "it closed the connection, and takes no other"
            raise NoAnswerError(message) from error
        await connection.ask(head, body)
        return connection

    async def _connect(self, base_url: str) -> Connection:
        origin = origin_of(base_url)
        try:
            there = await connected(origin.host, origin.port, self._timeouts.connect_s)
            _, connection = await self._loop.create_connection(
                lambda: Connection(base_url, self._timeouts, self._forget), sock=there
            )
        except OSError as error:  # TimeoutError among them
            kind = CutOffError if is_cut_off(error) else NotConnectedError
            raise kind(str(error)) from error
        if not connection.is_closing:
            self._open.add(connection)
        if self._tick is None:
            self._tick = self._loop.call_later(self._tick_s, self._look_at_clock)
        return connection

    def _take(self, base_url: str) -> Connection | None:
        idle = self._idle.get(base_url)
        now = self._loop.time()
        while idle:
            connection = idle.pop()
            if connection.deadline > now and not connection.is_closing:
                return connection
            connection.abort()
        return None

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; cut any other."""
        if connection.is_reusable:
            connection.deadline = self._loop.time() + KEEPALIVE_S
            self._idle.setdefault(connection.base_url, []).append(connection)
        else:
            connection.abort()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.base_url, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.base_url, None)

    def _look_at_clock(self) -> None:
        """One timer for all of them: a timer a wait would cost more than the wait."""
        now = self._loop.time()
        for connection in list(self._open):
            if connection.deadline <= now:
                connection.expire()
            else:
                connection.look(now)
        self._tick = None
        if self._open:
            self._tick = self._loop.call_later(self._tick_s, self._look_at_clock)
