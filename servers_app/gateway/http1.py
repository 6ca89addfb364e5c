"""HTTP/1.1 to a llama-server: what a request looks like, and a connection with its answers.

WireError
├── NotConnectedError    nobody took the connection
├── CutOffError          the host is not there: it took no connection in time, or fell off it
├── NoAnswerError        the connection closed before the head of an answer was there
├── NotHTTPError         what came instead of a head is not HTTP/1.1, or is far too long
├── BrokenAnswerError    the answer ended before its end, or ceased to be HTTP
└── SilenceError         nothing came for too long
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httptools

from servers_app.gateway.lifelines import CUT_OFF_S, Socket, is_cut_off, is_unheard, keep_probed

Header = tuple[bytes, bytes]

MAX_HEAD_BYTES: Final = 64 * 2**10
HIGH_WATER_BYTES: Final = 256 * 2**10  # of an answer, held for a client that reads slowly
_SLICE_BYTES: Final = 256 * 2**10  # of a request's body
_HEAD: Final = re.compile(
    rb"POST [\x21-\x7e]+ HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)+"
)


class WireError(Exception):
    """Base class of what goes wrong between the gateway and a llama-server."""


class NotConnectedError(WireError):
    pass


class CutOffError(WireError):
    pass


class NoAnswerError(WireError):
    pass


class NotHTTPError(WireError):
    pass


class BrokenAnswerError(WireError):
    pass


class SilenceError(WireError):
    def __init__(self, waited_s: float) -> None:
        super().__init__(f"nothing came for {waited_s:g} s")
        self.waited_s = waited_s


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a llama-server may take, in seconds.

    An answer that is not streamed is silent until it is done, so `idle` counts only once
    a body has begun. In a stream llama-server sends a comment every 30 s. A host that is cut
    off is noticed earlier than by these: see `lifelines`.
    """

    connect_s: float = 2.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0


class Origin(NamedTuple):
    host: str
    port: int
    authority: bytes  # for the Host header


@lru_cache(maxsize=1024)
def origin_of(base_url: str) -> Origin:
    """Split "http://host:port"; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is something else.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "http" or not parts.hostname or parts.path or parts.query:
        message = f"{base_url!r} is not http://host:port"
        raise ValueError(message)
    return Origin(parts.hostname, parts.port or 80, parts.netloc.encode())


def post_head(base_url: str, target: str, headers: Iterable[Header], length: int) -> bytes:
    """Return the head of a request, with Host and Content-Length.

    Raises:
        ValueError: the target or a header holds what could end its line, or is no name.
    """
    lines = [b"%s: %s\r\n" % header for header in headers]
    authority = origin_of(base_url).authority
    head = b"POST %s HTTP/1.1\r\nhost: %s\r\n%scontent-length: %d\r\n" % (
        target.encode(),
        authority,
        b"".join(lines),
        length,
    )
    is_of_headers = _HEAD.fullmatch(head) is not None
    if not is_of_headers or head.count(b"\n") != len(lines) + 3:
        message = "the request has a header that cannot be sent"
        raise ValueError(message)
    return head + b"\r\n"


class Connection(asyncio.Protocol):
    """One connection, and the answer that is on it.

    Whoever owns it calls `expire` when its `deadline` has passed, and `look` now and then.
    """

    _transport: asyncio.Transport

    def __init__(
        self, base_url: str, timeouts: Timeouts, on_lost: Callable[["Connection"], None]
    ) -> None:
        self.base_url = base_url
        self.deadline = math.inf  # the loop's clock
        self.status = 0
        self.headers: list[Header] = []  # names in lower case
        self.is_heard = False  # something came since the last request
        self.is_complete = True  # there is no answer outstanding
        self._timeouts = timeouts
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._barren_bytes = 0  # that came since the last piece of a body
        self._error: WireError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._patience_s = math.inf
        self._has_head = False
        self._is_framed = False  # its length is told, so that its end can be told from a break
        self._is_interim = False
        self._is_reading = True
        self._is_reusable = True
        self._is_sent = True
        self._is_write_paused = False
        self._socket: Socket | None = None
        self._look_at = math.inf  # the loop's clock: when to ask whether it was heard

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    @property
    def is_read(self) -> bool:
        """Whether all of the answer has been read."""
        return self.is_complete and not self._pieces

    @property
    def is_reusable(self) -> bool:
        """Whether its answer was read to its end, and another may follow."""
        return (
            self.is_read
            and self._is_reusable
            and self._is_sent
            and not self._transport.is_closing()
        )

    def abort(self) -> None:
        self._transport.abort()

    async def ask(self, head: bytes, body: bytes) -> None:
        """Send a request, and wait for the head of the answer.

        Raises:
            WireError: there was none. The connection is cut.
        """
        if self._error is not None:
            raise self._error
        if self.is_closing:
            message = "it closed the connection"
            raise NoAnswerError(message)
        self.deadline = math.inf
        self.headers = []
        self.is_heard = self.is_complete = self._has_head = False
        self._is_framed = self._is_interim = self._is_sent = False
        self._barren_bytes = 0
        self._look_at = self._loop.time() + CUT_OFF_S
        try:
            await self._send(head, body)
            while not self._has_head:
                await self._wait(self._timeouts.first_byte_s)
        except BaseException:
            self.abort()
            raise

    async def read(self) -> bytes:
        """Return what has come of the body, and nothing at its end.

        Raises:
            BrokenAnswerError: it broke off.
            SilenceError: nothing came for too long.
        """
        if not await self.peek():
            return b""
        pieces = self._pieces
        self._pieces = []
        self._held_bytes = 0
        if not self._is_reading and not self.is_closing:
            self._is_reading = True
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def peek(self) -> bytes:
        """Return the piece that `read` will begin with. Raises as that."""
        while not self._pieces:
            if self.is_complete:
                return b""
            await self._wait(self._timeouts.idle_s)
        return self._pieces[0]

    def expire(self) -> None:
        """Its time is over: that of a wait, or that of an idle connection."""
        if not self.is_complete:
            self._fail(SilenceError(self._patience_s))
        else:
            self.abort()

    def look(self, now: float) -> None:
        """Notice that what was sent is not acknowledged by anybody any more."""
        if now < self._look_at or self._socket is None or self.is_closing:
            return
        is_dead = None if self._has_head else is_unheard(self._socket)
        if is_dead:
            self._fail(CutOffError("its host acknowledges nothing"))
        elif is_dead is None and (self._is_sent or self._has_head):
            self._look_at = math.inf  # from here on the kernel probes

    async def _send(self, head: bytes, body: bytes) -> None:
        if len(body) <= _SLICE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            view = memoryview(body)
            for at in range(0, len(body), _SLICE_BYTES):
                self._transport.write(view[at : at + _SLICE_BYTES])
                while self._is_write_paused and not self._has_head:
                    await self._wait(self._timeouts.first_byte_s)
                if self._has_head:
                    return  # it has answered without hearing it out
        self._is_sent = True

    async def _wait(self, seconds: float) -> None:
        """Wait for something to change."""
        if self._error is not None:
            raise self._error
        self._patience_s = seconds
        self.deadline = self._loop.time() + seconds
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self.deadline = math.inf
        if self._error is not None and not self._pieces:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: WireError) -> None:
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a stream's, from create_connection
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            keep_probed(self._socket)

    def data_received(self, data: bytes) -> None:
        if self.is_complete:
            # Whoever asks next would take it for the answer.
            self._fail(NotHTTPError("it speaks unasked"))
            return
        self.is_heard = True
        self._barren_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._is_reusable = False
            if not self.is_complete:  # else it is what followed the answer
                kind = BrokenAnswerError if self._has_head else NotHTTPError
                self._fail(kind(str(error)))
                return
        if self._barren_bytes > MAX_HEAD_BYTES and not self.is_complete:
            kind = BrokenAnswerError if self._has_head else NotHTTPError
            self._fail(kind("it sends headers without end"))
            return
        if self._held_bytes > HIGH_WATER_BYTES and self._is_reading and not self.is_closing:
            self._is_reading = False
            self._transport.pause_reading()
        if self._has_head:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)
        self._is_reusable = False
        if not self.is_complete:
            if self._error is not None:
                pass
            elif is_cut_off(exc):
                self._error = CutOffError(f"it is cut off: {exc}")
            elif not self._has_head:
                self._error = NoAnswerError("it closed the connection")
            elif self._is_framed or exc is not None:
                self._error = BrokenAnswerError("it closed the connection")
            else:
                self.is_complete = True
        self._wake()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.is_complete:
            message = "bytes after the end of the answer"
            raise ValueError(message)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._is_interim = True
            self.headers = []
            return
        if not 200 <= status < 600:
            message = f"the status {status}"
            raise ValueError(message)
        names = dict(self.headers)
        encoding = names.get(b"transfer-encoding")
        if encoding is not None and encoding.lower() != b"chunked":
            message = "an unknown transfer-encoding"
            raise ValueError(message)
        self.status = status
        self._is_framed = encoding is not None or b"content-length" in names
        self._has_head = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._barren_bytes = 0

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
            return
        self._is_reusable = self._parser.should_keep_alive()
        self.is_complete = True
