"""GET /api/events: what happens, as server-sent events, for as long as a client listens.

An ASGI application beside Django's: a stream that is open for hours must not hold one of
Django's threads.
"""

import asyncio
import signal
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, parse_cookie

from magi_site.api_access import MayCall
from magi_site.event_hub import EventHub
from magi_site.exposure import is_open
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
        if not await is_let_in(exchange):
            return
        try:
            with ClientWatch(receive):
                await self._stream(exchange)
        except QueueUnavailableError as error:
            await exchange.answer(503, {"detail": str(error)})
        except ClientGoneError:
            pass  # that is how a stream ends

    async def _stream(self, exchange: Exchange) -> None:
        async with self._hub.listen() as listener:
            await exchange.start(200, HEADERS)
            await exchange.write(b"retry: %d\n\n" % RETRY_MS)
            while True:
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        events = await listener.take()
                except TimeoutError:
                    events = PING
                if not events:
                    break
                await exchange.write(events)
        await exchange.end()


async def is_let_in(exchange: Exchange) -> bool:
    """Whether the call may be answered; one that may not has been."""
    if exchange.method != "GET":
        detail = f"{exchange.method} is not possible here. Use GET."
        await exchange.answer(405, {"detail": detail}, [(b"allow", b"GET")])
        return False
    status = await _access(exchange)
    if status != 200:
        headers = [(b"www-authenticate", b"Bearer")] if status == 401 else []
        await exchange.answer(status, {"detail": MayCall.message}, headers)
        return False
    return True


async def _access(exchange: Exchange) -> int:
    """Return 200, or as what the call is refused: 401 for nobody, 403 for no staff."""
    if is_open():
        return 200
    cookie = exchange.header(b"cookie")
    if cookie is None:
        return 401
    return await sync_to_async(_access_by_session)(cookie.decode("latin-1"))


def _access_by_session(cookie: str) -> int:
    request = HttpRequest()
    key = parse_cookie(cookie).get(settings.SESSION_COOKIE_NAME)
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    close_old_connections()
    try:
        user = get_user(request)
    finally:
        close_old_connections()
    if user.is_anonymous:
        return 401
    return 200 if user.is_staff else 403


def on_stop_signal(end: Callable[[], None]) -> None:
    """Call `end` in this loop when the server is asked to stop, besides what it does then.

    uvicorn tells its application only after every response has ended, and waits for
    seconds for those that do not end by themselves.
    """
    loop = asyncio.get_running_loop()
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
