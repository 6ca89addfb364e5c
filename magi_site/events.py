"""GET /api/events: what happens, as server-sent events, for as long as a client listens.

An ASGI application beside Django's: a stream that is open for hours must not hold one of
Django's threads.
"""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final
from urllib.parse import parse_qsl

from magi_site import draining
from magi_site.event_hub import EventHub
from magi_site.stream_access import Pass, let_in
from models_app.errors import QueueUnavailableError
from servers_app.gateway.asgi import ClientWatch, Exchange, Receive, Scope, Send
from servers_app.gateway.errors import ClientGoneError

PATH: Final = "/api/events"
PING_SECONDS = 15.0  # below what proxies and browsers take for a dead connection
RETRY_MS = 2000  # how long a browser waits before it comes back

PING: Final = b": ping\n\n"
HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep it until its buffer is full
)


class EventStream:
    """The ASGI application. `startup()` and `shutdown()` run in the loop that serves it."""

    def __init__(
        self, hub: EventHub | None = None, *, ping_seconds: float = PING_SECONDS
    ) -> None:
        self._hub = hub or EventHub()
        self._ping_seconds = ping_seconds

    def startup(self) -> None:
        on_stop_signal(self._hub.end)

    async def shutdown(self) -> None:
        await self._hub.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        entry = await let_in(exchange)
        if entry is None:
            return
        try:
            with ClientWatch(receive):
                await self._stream(exchange, entry)
        except QueueUnavailableError as error:
            await exchange.answer(503, {"detail": str(error)})
        except ClientGoneError:
            pass  # that is how a stream ends

    async def _stream(self, exchange: Exchange, entry: Pass) -> None:
        async with self._hub.listen(last_event_id(exchange)) as listener:
            await exchange.start(200, HEADERS)
            await exchange.write(b"retry: %d\n\n" % RETRY_MS)
            while True:
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        events = await listener.take()
                except TimeoutError:
                    events = PING
                if not (events and await entry.holds()):
                    break
                await exchange.write(events)
        await exchange.end()


def last_event_id(exchange: Exchange) -> str | None:
    """Return the id of the last event that the client has; None: it begins.

    A browser that comes back names it in the header. Who opens a new EventSource, which
    takes no headers, names it in the query; the header is newer.
    """
    header = exchange.header(b"last-event-id")
    if header is not None:
        return header.decode("latin-1")
    return dict(parse_qsl(exchange.query.decode("latin-1"))).get("last_event_id")


def on_stop_signal(end: Callable[[], None]) -> None:
    """Call `end` in this loop when the server is asked to stop, besides what it does then.

    uvicorn tells its application only after every response has ended, and waits for
    seconds for those that do not end by themselves. Clients that are sent away so early find
    another process, or this one once more, if it drains: then they are sent away again.
    """
    loop = asyncio.get_running_loop()
    draining.at_end(end)
    for number in (signal.SIGINT, signal.SIGTERM):
        served: Any = signal.getsignal(number)
        if not callable(served):
            continue

        def handle(
            number: int, interrupted: FrameType | None, served: Callable[..., object] = served
        ) -> None:
            loop.call_soon_threadsafe(end)
            served(number, interrupted)

        signal.signal(number, handle)
