"""uvicorn's HTTP protocol, with bounds to what clients can keep busy.

uvicorn's own keeps the URL and the headers of a request in memory however large they are
(`--h11-max-incomplete-event-size` is for its other parser alone), and waits for ever for
whoever has asked for something and does not read the answer.
"""

import asyncio
from typing import Any, Final, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 2**10  # request line and headers; browsers stay below 32 KiB
MAX_HEADERS: Final = 200
# That not a byte of an answer is taken; as long as a llama-server may be silent in one.
UNREAD_S = 120.0

_DETAIL: Final = b'{"detail": "The request line and the headers are too large."}'
_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/json\r\n"
    b"content-length: %d\r\n"
    b"connection: close\r\n\r\n%s" % (len(_DETAIL), _DETAIL)
)


class HeadTooLargeError(Exception):
    """Raised into the parser, which then gives up."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to a head that is too large, and hangs up on whoever does not read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0  # of the URL and the headers that are complete
        # A header that does not end stays in the parser, and so does a chunk's size: what was
        # fed and came to nothing yet is counted here.
        self._pending_bytes = 0
        self._has_moved = False
        self._is_too_large = False
        self._next_look: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_no_more()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to look whether the client takes what there is."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        self._look_no_more()
        super().resume_writing()

    def _look_later(self) -> None:
        left_bytes = self.transport.get_write_buffer_size()
        self._next_look = self.loop.call_later(UNREAD_S, self._look, left_bytes)

    def _look(self, left_bytes: int) -> None:
        if self.transport.get_write_buffer_size() < left_bytes:
            self._look_later()
            return
        self.logger.warning("A client took nothing of its answer for %.0f s.", UNREAD_S)
        self.transport.abort()  # the request then ends as one whose client has left

    def _look_no_more(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        self._pending_bytes = 0 if self._has_moved else self._pending_bytes + len(data)
        if self._pending_bytes > MAX_HEAD_BYTES:
            self._refuse()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._give_up()

    def on_headers_complete(self) -> None:
        self._has_moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_moved = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser gave up; it may be us who made it do so."""
        if self._is_too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._give_up()

    def _give_up(self) -> NoReturn:
        self._is_too_large = True
        raise HeadTooLargeError

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        self.logger.warning("A request's head was refused: more than %d bytes.", MAX_HEAD_BYTES)
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is None or cycle.response_complete:
            self.transport.write(_ANSWER)
        self.transport.close()
