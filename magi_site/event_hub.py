"""The events of Redis, handed to every listener of this process: one subscription for all."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from models_app.errors import QueueUnavailableError
from models_app.events import KINDS, channel, event_json

logger = logging.getLogger(__name__)

# Of the stream itself, beside KINDS. After either of the first two, a page that was
# drawn from events has to be drawn anew.
LOST = "lost"  # this listener was too slow; `count` events were dropped, the oldest first
AVAILABLE = "available"  # Redis is back; what happened meanwhile was told to nobody
UNAVAILABLE = "unavailable"  # Redis has gone; the stream stays open

MAX_PENDING = 256  # events a listener
TIMEOUT_S = 2.0
RECONNECT_PAUSE_S = 1.0
MAX_RECONNECT_PAUSE_S = 15.0


def frame(kind: str, event: str) -> bytes:
    """Return an event of one line of JSON as a browser's EventSource reads it."""
    return f"event: {kind}\ndata: {event}\n\n".encode()


class Listener:
    """What one listener has yet to be sent: a bounded queue that never makes others wait."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._frames: deque[bytes] = deque(maxlen=max_pending)
        self._lost = 0
        self._has_ended = False
        self._wake = asyncio.Event()

    def put(self, piece: bytes) -> None:
        if len(self._frames) == self._frames.maxlen:
            self._lost += 1
        self._frames.append(piece)
        self._wake.set()

    def end(self) -> None:
        self._has_ended = True
        self._wake.set()

    async def take(self) -> bytes:
        """Wait for events, and return all that are there; none: this was the end."""
        await self._wake.wait()
        if not self._has_ended:
            self._wake.clear()
        pieces = [frame(LOST, event_json(LOST, {"count": self._lost}))] if self._lost else []
        pieces += self._frames
        self._lost = 0
        self._frames.clear()
        return b"".join(pieces)


class EventHub:
    """The listeners of this process. All of it runs in one event loop."""

    def __init__(
        self, *, max_pending: int = MAX_PENDING, pause_s: float = RECONNECT_PAUSE_S
    ) -> None:
        self._max_pending = max_pending
        self._pause_s = pause_s
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._opened: asyncio.Future[bool] | None = None
        self._is_up = False

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Listener]:
        """Give a listener; the first one opens the subscription, the last one closes it.

        Raises:
            QueueUnavailableError: Redis cannot be reached.
        """
        listener = Listener(self._max_pending)
        self._listeners.add(listener)
        try:
            if not await self._is_subscribed():
                raise QueueUnavailableError
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._unsubscribe()

    def end(self) -> None:
        """End every stream, once it has been sent what it has yet to be sent."""
        for listener in self._listeners:
            listener.end()

    async def close(self) -> None:
        """End every stream; return when the subscription is closed."""
        self.end()
        self._unsubscribe()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _is_subscribed(self) -> bool:
        if self._opened is None or self._reader is None or self._reader.done():
            self._opened = asyncio.get_running_loop().create_future()
            self._reader = asyncio.create_task(self._read(self._opened))
        return await asyncio.shield(self._opened) and self._is_up

    def _unsubscribe(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._leaving.add(self._reader)
            self._reader.add_done_callback(self._leaving.discard)
        self._reader = None
        self._is_up = False

    async def _read(self, opened: asyncio.Future[bool]) -> None:
        """Relay what is published. Once it has begun, it comes back whenever Redis does."""
        pause_s = self._pause_s
        while True:
            try:
                async for payload in _subscription():
                    if payload is not None:
                        self._relay(payload)
                        continue
                    pause_s = self._pause_s
                    self._is_up = True
                    if opened.done():
                        self._tell(frame(AVAILABLE, event_json(AVAILABLE, {})))
                    else:
                        opened.set_result(True)
            except Exception as error:  # with whatever it ends, the streams do not
                level = logging.WARNING if self._is_up else logging.DEBUG
                logger.log(level, "No events: %s: %s", type(error).__name__, error)
            if self._reader is not asyncio.current_task():
                return  # nobody listens any more
            if not opened.done():
                opened.set_result(False)
                return
            if self._is_up:
                self._is_up = False
                detail = {"detail": str(QueueUnavailableError())}
                self._tell(frame(UNAVAILABLE, event_json(UNAVAILABLE, detail)))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_RECONNECT_PAUSE_S)

    def _relay(self, payload: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):  # somebody else's, on our channel
            event = json.loads(payload)
            if event["kind"] in KINDS:
                self._tell(frame(event["kind"], json.dumps(event)))

    def _tell(self, piece: bytes) -> None:
        for listener in self._listeners:
            listener.put(piece)


async def _subscription() -> AsyncIterator[bytes | None]:
    """Yield None when the subscription stands, then what is published.

    Raises:
        redis.RedisError, OSError: Redis cannot be reached, or has gone.
    """
    async with (
        Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,  # of the handshake; a subscription waits for ever
            retry=Retry(NoBackoff(), 0),
        ) as redis,
        redis.pubsub() as pubsub,
    ):
        await pubsub.subscribe(channel(settings.REDIS_URL))
        async for message in pubsub.listen():
            if message["type"] == "subscribe":
                yield None
            elif message["type"] == "message":
                yield message["data"]
