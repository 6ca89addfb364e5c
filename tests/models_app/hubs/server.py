"""What both stand-ins have in common: a real server, the troubles it can make, its notes."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from tests.models_app.hubs.content import Content

CHUNK = 64 * 1024


@dataclass(slots=True)
class Trouble:
    """What goes wrong with bodies; each cut and each answer once, in order."""

    cuts: deque[int] = field(default_factory=deque)  # after so many bytes of an answer
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)  # instead
    stalls: deque[int] = field(default_factory=deque)  # after so many bytes, for good
    bytes_per_s: int = 0
    knows_ranges: bool = True
    too_many: int = 0  # bytes that are sent on top
    wrong_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    host: str
    headers: dict[str, str]

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class StandIn(ABC):
    """A server on a loopback socket; a context manager."""

    handler: ClassVar[type["Handler"]]

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), self.handler)
        self._server.stand_in = self
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[Asked]:
        """Return the requests for bytes of files, in order."""
        return [one for one in self.asked if one.method == "GET" and self.is_body(one.path)]

    @abstractmethod
    def is_body(self, path: str) -> bool:
        """Whether a request is for bytes of a file."""

    def stall(self) -> None:
        """Say nothing until the stand-in ends."""
        self._ends.wait(60)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: Any

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have gone."""


class Handler(BaseHTTPRequestHandler, ABC):
    protocol_version = "HTTP/1.1"
    stand_in: Any

    def do_GET(self) -> None:
        self.stand_in = self.server.stand_in  # type: ignore[attr-defined]
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = self.headers.get("Host", "").partition(":")[0]
        self.stand_in.asked.append(Asked(self.command, self.path, host, headers))
        self.answer(unquote(urlsplit(self.path).path), headers)

    do_HEAD = do_GET

    @abstractmethod
    def answer(self, path: str, headers: dict[str, str]) -> None:
        """Answer a GET or HEAD."""

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, content: Content, **headers: str) -> None:
        """Send a file, or the part of it that is asked for, with the troubles there are."""
        trouble: Trouble = self.stand_in.trouble
        if trouble.answers and self.command == "GET":
            status, more = trouble.answers.popleft()
            self.reply(status, b"", **more)
            return
        start, end = self._range(content.size) if trouble.knows_ranges else (None, 0)
        is_part = start is not None
        first = start or 0
        last = end if is_part else content.size
        length = max(0, last - first) + trouble.too_many
        if is_part and first >= content.size:
            self.reply(416, b"", Content_Range=f"bytes */{content.size}")
            return
        self.send_response(206 if is_part else 200)
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{content.size}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if trouble.too_many:  # only who counts finds that out
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self._send(content, first, length, trouble)

    def _send(self, content: Content, first: int, length: int, trouble: Trouble) -> None:
        cut = trouble.cuts.popleft() if trouble.cuts else None
        stall = trouble.stalls.popleft() if trouble.stalls else None
        sent, began = 0, time.monotonic()
        with content.path.open("rb") as file:
            file.seek(first)
            while sent < length:
                if cut is not None and sent >= cut:
                    self.close_connection = True
                    return
                if stall is not None and sent >= stall:
                    self.stand_in.stall()
                    self.close_connection = True
                    return
                limit = min(x for x in (CHUNK, length - sent, *self._until(sent, cut, stall)))
                chunk = file.read(limit) or bytes(limit)
                if trouble.wrong_bytes:
                    chunk = chunk[:8] + bytes(b ^ 1 for b in chunk[8:16]) + chunk[16:]
                self.wfile.write(chunk)
                sent += len(chunk)
                if trouble.bytes_per_s:
                    time.sleep(max(0.0, began + sent / trouble.bytes_per_s - time.monotonic()))

    @staticmethod
    def _until(sent: int, *ends: int | None) -> list[int]:
        return [end - sent for end in ends if end is not None and end > sent]

    def _range(self, size: int) -> tuple[int | None, int]:
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return None, 0
        start, _, end = asked.removeprefix("bytes=").partition("-")
        return int(start), min(int(end) + 1, size) if end else size
