"""The client's side of the gateway: ASGI's shapes, and one request with its answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, Final

from models_app.request_ids import accepted_or_new
from servers_app.gateway.errors import BodyTooLargeError, ClientGoneError
from servers_app.gateway.trace import Trace

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

WATCH_AFTER_S: Final = 0.05
# Whatever is answered is what its Content-Type says, no page of another origin includes it as
# a script, an image or a style, and opened as a page it can do nothing.
SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
)
PRIVATE: Final = (*SAFE, (b"cache-control", b"no-store"))


class Exchange:
    """One HTTP request and the answer to it."""

    __slots__ = (
        "address", "headers", "method", "path", "query", "receive", "request_id", "scope",
        "send", "started", "status", "trace",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]  # decoded
        self.query: bytes = scope["query_string"]
        self.headers: list[Header] = scope["headers"]  # names in lower case
        self.address: str = (scope.get("client") or ("", 0))[0]
        self.receive = receive
        self.send = send
        self.started = False
        self.status = 0  # of the answer; 0 before it has begun
        self.trace: Trace | None = None  # of a request that a model is to answer
        given = self.header(b"x-request-id")
        self.request_id = accepted_or_new(None if given is None else given.decode("latin-1"))

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read_body(self, max_bytes: int) -> bytes:
        """Read the request's body.

        Raises:
            BodyTooLargeError: it announces or holds more than `max_bytes`.
            ClientGoneError: the client left before it had sent all of it.
        """
        announced = self.header(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        pieces: list[bytes] = []
        size_bytes = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise BodyTooLargeError(max_bytes)
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        self.started = True
        self.status = status
        request_id = (b"x-magi-request-id", self.request_id.encode())
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *SAFE, request_id],
            }
        )

    async def write(self, piece: bytes) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": False})

    async def answer(
        self, status: int, content: object, headers: Iterable[Header] = ()
    ) -> None:
        """Answer with `content` as JSON, whole."""
        body = json.dumps(content).encode()
        await self.start(
            status,
            [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        )
        await self.end(body)


class ClientWatch:
    """Cancel the block under it when the client leaves.

    To a client that left, an ASGI server drops what is sent without a word; only
    receive() tells. The body must have been read before. What is done within
    `WATCH_AFTER_S` is not worth a task that waits for it.

    Raises:
        ClientGoneError: on leaving the block, if the client's going cancelled it.
    """

    __slots__ = ("_cancelling", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            message = "A client can only be watched from within a task."
            raise RuntimeError(message)
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        # As asyncio.timeout does: a cancellation from elsewhere stays one.
        if (
            self._gone
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise ClientGoneError from error

    def _start(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
