"""The events of Redis, handed to every listener of this process: one connection for all."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from django.conf import settings
from redis import RedisError

from magi_site.event_log import Entry, EventLog, frame, lost
from magi_site.kept_events import KeptEvents, Page, is_before, is_id, kept_events
from models_app.errors import QueueUnavailableError
from models_app.events import MAX_KEPT, event_json

logger = logging.getLogger(__name__)

# Of the stream itself, beside LOST. After LOST and AVAILABLE, a page that was drawn from
# events has to be drawn anew.
AVAILABLE = "available"  # Redis is back; who had something to tell meanwhile could not
UNAVAILABLE = "unavailable"  # Redis has gone; the stream stays open

MAX_LOGGED = MAX_KEPT + 1_000  # about 2 MB, while somebody listens
MAX_TAKEN = 256  # entries at once
OPEN_TIMEOUT_S = 5.0
ARRIVAL_TIMEOUT_S = 2.0  # of an event that Redis has, and this process soon
RECONNECT_PAUSE_S = 1.0
MAX_RECONNECT_PAUSE_S = 15.0


class Listener:
    """A place in the list of events, and who waits there for more."""

    def __init__(self) -> None:
        self._log = EventLog(0)
        self._place = 0
        self._greeting = b""
        self._wake = asyncio.Event()
        self._has_ended = False

    def start(self, log: EventLog, place: int, greeting: bytes) -> None:
        """Have it read `log` from a place on, after a greeting."""
        self._log = log
        self._place = place
        self._greeting = greeting

    def wake(self) -> None:
        self._wake.set()

    async def woken(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def end(self) -> None:
        self._has_ended = True
        self.wake()

    async def take(self) -> bytes:
        """Wait for events, and return some that are there, the oldest first; none: the end."""
        piece, self._greeting = self._greeting, b""
        while not piece:
            before = self._place
            piece, self._place = self._log.read(before, MAX_TAKEN)
            if self._place == before:
                if self._has_ended:
                    break
                await self.woken()
        return piece


class EventHub:
    """The listeners of this process. All of it runs in one event loop."""

    def __init__(
        self, *, max_logged: int = MAX_LOGGED, pause_s: float = RECONNECT_PAUSE_S
    ) -> None:
        self._max_logged = max_logged
        self._pause_s = pause_s
        self._log = EventLog(max_logged)
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._opened: asyncio.Future[bool] | None = None
        self._is_up = False
        self._finding = asyncio.Lock()

    @asynccontextmanager
    async def listen(self, last_event_id: str | None = None) -> AsyncIterator[Listener]:
        """Give a listener; the first one opens the connection, the last one closes it.

        Args:
            last_event_id: of the event after which it goes on. If that is not kept any
                more, or never was, the listener is told that something is lost, and goes
                on from now.

        Raises:
            QueueUnavailableError: Redis cannot be reached.
        """
        listener = Listener()
        self._listeners.add(listener)
        try:
            await self._open()
            place = None
            if last_event_id is None:
                greeting = f"id: {self._log.newest_id}\n\n".encode()
            else:
                place = await self._place_after(last_event_id, listener)
                greeting = b"" if place is not None else lost(None, self._log.newest_id)
            listener.start(self._log, self._log.end if place is None else place, greeting)
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._leave()

    def end(self) -> None:
        """End every stream, once it has been sent what it has yet to be sent."""
        for listener in self._listeners:
            listener.end()

    async def close(self) -> None:
        """End every stream; return when the connection is closed."""
        self.end()
        self._leave()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _open(self) -> None:
        if self._opened is None or self._reader is None or self._reader.done():
            self._log = EventLog(self._max_logged)
            self._opened = asyncio.get_running_loop().create_future()
            self._reader = asyncio.create_task(self._read(self._log, self._opened))
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                is_open = await asyncio.shield(self._opened)
        except TimeoutError:
            is_open = False
        if not is_open or not self._is_up:
            raise QueueUnavailableError

    def _leave(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._leaving.add(self._reader)
            self._reader.add_done_callback(self._leaving.discard)
        self._reader = None
        self._is_up = False

    async def _read(self, log: EventLog, opened: asyncio.Future[bool]) -> None:
        """Take in what is published. Once it has begun, it comes back whenever Redis does."""
        pause_s = self._pause_s
        last: Entry | None = None
        while True:
            try:
                async with kept_events(settings.REDIS_URL) as kept:
                    async for page in kept.follow(last):
                        if not self._is_up and opened.done():
                            log.append(Entry("", frame(AVAILABLE, event_json(AVAILABLE, {}))))
                        self._take_in(log, page)
                        last = page.entries[-1] if page.entries else last
                        pause_s = self._pause_s
                        self._is_up = True
                        if not opened.done():
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
                log.append(Entry("", frame(UNAVAILABLE, event_json(UNAVAILABLE, detail))))
                self._wake()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_RECONNECT_PAUSE_S)

    def _take_in(self, log: EventLog, page: Page) -> None:
        if not page.follows:
            log.append(Entry("", lost(None)))
        for entry in page.entries:
            log.append(entry)
        self._wake()

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.wake()

    async def _place_after(self, event_id: str, listener: Listener) -> int | None:
        """Return where a listener goes on; None: nobody knows.

        Raises:
            QueueUnavailableError: Redis cannot be reached.
        """
        log = self._log
        if log.place_after(event_id) is None and is_id(event_id):
            try:
                # One at a time: who waited finds in the list what another one fetched.
                async with self._finding, kept_events(settings.REDIS_URL) as kept:
                    if log.place_after(event_id) is None:
                        await _find(event_id, log, kept, listener)
            except (RedisError, OSError) as error:
                raise QueueUnavailableError from error
        return log.place_after(event_id)


async def _find(event_id: str, log: EventLog, kept: KeptEvents, listener: Listener) -> None:
    """Have an event in the list, and what came after it, if Redis has it.

    Raises:
        redis.RedisError, OSError: Redis cannot be reached.
    """
    oldest_id = log.oldest_id
    if oldest_id is None:
        return  # of what Redis said, nothing is left here to put it in front of
    if is_before(event_id, oldest_id):
        older = await kept.between(event_id, oldest_id)
        if log.oldest_id == oldest_id:
            log.prepend(older)
    elif await kept.has(event_id):  # another process told it already
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
                while log.place_after(event_id) is None:
                    await listener.woken()
