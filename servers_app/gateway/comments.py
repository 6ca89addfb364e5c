"""What a streamed request is told while it waits: comments, as server-sent events have them.

https://html.spec.whatwg.org/multipage/server-sent-events.html: a line that begins with a
colon is ignored. A client shows it, or at least sees that the connection is alive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from servers_app.gateway.asgi import Exchange, Header
from servers_app.gateway.background import cancelled
from servers_app.gateway.errors import GatewayError

FIRST_AFTER_S = 1.0  # by then a refusal has had its status
INTERVAL_S = 2.0
# Whose answers are server-sent events if the request says `stream`.
STREAMED_PATHS: Final = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"}
)
_NAMED_EVENTS: Final = ("/v1/messages", "/v1/responses")
HEAD: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
)


class Early:
    """An answer that begins before a server has the request.

    Once it has, its status is 200 and its headers are out, so an error can only be an event.
    """

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def comment(self, text: str) -> None:
        if not self._exchange.started:
            await self._exchange.start(200, HEAD)
        await self._exchange.write(b": %s\n\n" % " ".join(text.split()).encode())


def early(exchange: Exchange, *, is_stream: bool) -> Early | None:
    """Return what to comment on, if the answer to a request is a stream of events."""
    return Early(exchange) if is_stream and exchange.path in STREAMED_PATHS else None


@asynccontextmanager
async def commented(answer: Early | None, state: Callable[[], str]) -> AsyncIterator[None]:
    """Comment on the block under it while it takes long, with what `state` returns.

    No comment comes after the block.
    """
    if answer is None:
        yield
        return
    is_over = asyncio.Event()
    commenting = asyncio.create_task(_comment(answer, state, is_over))
    try:
        yield
    except asyncio.CancelledError:
        await cancelled(commenting)
        raise
    finally:
        is_over.set()  # one that is being sent is sent to its end
        if not commenting.cancelled():
            await commenting


async def fail(exchange: Exchange, error: GatewayError) -> None:
    """Answer with an error: by its status, or by an event if the answer has begun."""
    if exchange.started:
        await exchange.end(error.event_for(exchange.path))
    else:
        body = error.body_for(exchange.path)
        await exchange.answer(error.status, body, error.headers())


def as_event(body: bytes, path: str) -> bytes:
    """Return what llama-server answered instead of a stream, whole, as an error event."""
    name = b"event: error\n" if path in _NAMED_EVENTS else b""
    lines = body.splitlines() or [b""]
    return name + b"".join(b"data: %s\n" % line for line in lines) + b"\n"


async def _comment(answer: Early, state: Callable[[], str], is_over: asyncio.Event) -> None:
    pause_s = FIRST_AFTER_S
    while not await _is_set_within(is_over, pause_s):
        await answer.comment(state())
        pause_s = INTERVAL_S


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
