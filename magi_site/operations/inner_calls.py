"""Call MAGI's own ASGI application within this process: by no socket, at no address."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from servers_app.gateway.asgi import Header, Message, Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_KEPT_BYTES: Final = 2**24  # of a body; what is more is counted
LEAVE_S: Final = 2.0  # for a stream to end whose client has left
STREAM: Final = b"text/event-stream"


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf calls are made: what of an outer request says who makes it."""

    headers: tuple[Header, ...]  # names in lower case; Host is among them
    client: tuple[str, int]
    server: tuple[str, int]
    scheme: str = "http"

    def scope(self, method: str, path: str) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(self.headers),
            "client": self.client,
            "server": self.server,
        }


@dataclass(slots=True)
class Answer:
    """What came back, so far as it was kept; of a stream, its beginning."""

    status: int = 0  # 0: it did not begin to answer
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    size_bytes: int = 0
    seconds: float = 0.0
    is_complete: bool = False

    @property
    def media_type(self) -> bytes:
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


async def call(
    application: Application,
    caller: Caller,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    timeout_s: float,
) -> Answer:
    """Call, and return the answer: of a stream, when its first bytes have come.

    Raises:
        TimeoutError: it was not there in time.
        Exception: whatever the application raises.
    """
    exchange = _Exchange(body)
    began = time.monotonic()
    task = asyncio.ensure_future(
        application(caller.scope(method, path), exchange.receive, exchange.send)
    )
    seen = asyncio.ensure_future(exchange.has_seen_enough.wait())
    try:
        await asyncio.wait({task, seen}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        exchange.answer.seconds = time.monotonic() - began
        is_over = task.done() or exchange.has_seen_enough.is_set()
        exchange.is_gone.set()
        if not task.done():
            await asyncio.wait({task}, timeout=LEAVE_S)
        if not is_over:
            raise TimeoutError
        if task.done():
            task.result()
        return exchange.answer
    finally:
        for each in (task, seen):
            each.cancel()
        await asyncio.gather(task, seen, return_exceptions=True)


class _Exchange:
    def __init__(self, body: bytes) -> None:
        self.answer = Answer()
        self._body = body
        self.is_gone = asyncio.Event()  # the client has left
        self.has_seen_enough = asyncio.Event()
        self._has_sent_body = False

    async def receive(self) -> Message:
        if not self._has_sent_body:
            self._has_sent_body = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.is_gone.is_set():
            return
        answer = self.answer
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.lower(): value for name, value in message["headers"]}
            return
        body: Any = message.get("body", b"")
        answer.size_bytes += len(body)
        if answer.size_bytes <= MAX_KEPT_BYTES:
            answer.body += body
        answer.is_complete = not message.get("more_body", False)
        if answer.is_complete or (body and answer.media_type == STREAM):
            self.has_seen_enough.set()
