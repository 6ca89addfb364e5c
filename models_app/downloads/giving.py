"""A small HTTP server that gives away the files of one model, and nothing else.

It is open while one copy is under way. Who has the token may ask for `/`, what there is,
and `/0`, `/1`, …, a file by its place in that list: no path comes in, and none goes out.
One request a connection; a head that is long or slow in coming gets no answer.
"""

import hmac
import json
import logging
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

HEAD_S: Final = 5.0  # for a request to be there
MAX_HEAD_BYTES: Final = 8192
STALL_S: Final = 120.0  # for somebody who takes no byte
MAX_AT_ONCE: Final = 16  # connections
POLL_S: Final = 0.1

log = logging.getLogger(__name__)

_REQUEST = re.compile(r"([A-Z]{1,10}) (\S{1,2000}) HTTP/1\.[01]")
_FILE = re.compile(r"/(\d{1,5})")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


class Giver:
    """A context manager: the server is open within it.

    Args:
        host: where it listens.
        ports: that are tried, in order.
        token: what a request has to show.
        files: in the order of the list; each is opened for each request.

    Raises:
        OSError: no port of those is free.
    """

    def __init__(
        self, host: str, ports: Iterable[int], token: str, files: Sequence[Path]
    ) -> None:
        self.manifest: bytes | None = None  # until it is known
        self.files = files
        self._token = token.encode()
        self._server = _bound(host, ports)
        self._server.giver = self
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._at_work = 0
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="giver", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def idle_s(self) -> float:
        """For how long nobody who may has asked for anything; 0 while somebody is given it."""
        with self._lock:
            return 0.0 if self._at_work else time.monotonic() - self._asked_at

    def may(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        is_same = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token)
        return is_same and scheme.lower() == "bearer"

    def enter(self, connection: socket.socket) -> bool:
        """Take note of a connection; return whether there is a place for it."""
        with self._lock:
            if len(self._open) >= MAX_AT_ONCE:
                return False
            self._open.add(connection)
            return True

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def works(self, by: int) -> None:
        with self._lock:
            self._at_work += by
            self._asked_at = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = MAX_AT_ONCE
    giver: Giver

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.giver.enter(request)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.giver.leave(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of those who have gone; what else it is is our fault."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("A request for a file could not be answered", exc_info=error)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        head = _head(self.request)
        if head is None:
            return
        self.request.settimeout(STALL_S)
        giver = self.server.giver
        request, headers = head
        if not giver.may(headers.get("authorization", "")):
            self._say(HTTPStatus.UNAUTHORIZED, "No token, or a wrong one.")
            return
        giver.works(1)
        try:
            self._answer(giver, request, headers)
        finally:
            giver.works(-1)

    def _answer(self, giver: Giver, request: str, headers: dict[str, str]) -> None:
        match = _REQUEST.fullmatch(request)
        if match is None:
            self._say(HTTPStatus.BAD_REQUEST, "That is no request.")
        elif match[1] != "GET":
            self._say(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is known.", "Allow: GET")
        elif match[2] == "/":
            if giver.manifest is None:
                self._say(HTTPStatus.ACCEPTED, "Its hashes are being reckoned.")
            else:
                self._send(HTTPStatus.OK, giver.manifest)
        elif (named := _FILE.fullmatch(match[2])) and int(named[1]) < len(giver.files):
            self._give(giver.files[int(named[1])], headers.get("range", ""))
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing of that name.")

    def _give(self, path: Path, asked: str) -> None:
        try:
            file = path.open("rb")
        except OSError:
            self._say(HTTPStatus.GONE, "That file cannot be read any more.")
            return
        with file:
            size = file.seek(0, 2)
            part = _part(asked, size)
            if part is None:
                text = f"Content-Range: bytes */{size}"
                self._say(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "It has no such part.", text
                )
                return
            start, end = part
            status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
            lines = [f"Content-Range: bytes {start}-{end - 1}/{size}"] if asked else []
            self._head(status, "application/octet-stream", end - start, *lines)
            if end > start:
                self.request.sendfile(file, start, end - start)

    def _say(self, status: HTTPStatus, detail: str, *lines: str) -> None:
        self._send(status, json.dumps({"detail": detail}).encode(), *lines)

    def _send(self, status: HTTPStatus, body: bytes, *lines: str) -> None:
        self._head(status, "application/json", len(body), *lines)
        self.request.sendall(body)

    def _head(self, status: HTTPStatus, kind: str, length: int, *lines: str) -> None:
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {length}",
            "Accept-Ranges: bytes",
            "Connection: close",
            *lines,
        ]
        self.request.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))


def _bound(host: str, ports: Iterable[int]) -> _Server:
    """Return a server on the first port that is free."""
    problem: OSError | None = None
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    kind = _Server6 if family == socket.AF_INET6 else _Server
    for port in ports:
        try:
            return kind((host, port), _Handler)
        except OSError as error:
            problem = error
    raise problem or OSError("no port to listen on")


def _head(connection: socket.socket) -> tuple[str, dict[str, str]] | None:
    """Read a request line and its headers; None where they do not come as they should."""
    ends_at, raw = time.monotonic() + HEAD_S, b""
    while b"\r\n\r\n" not in raw:
        rest_s = ends_at - time.monotonic()
        if rest_s <= 0 or len(raw) > MAX_HEAD_BYTES:
            return None
        connection.settimeout(rest_s)  # of all of it: who sends a byte now and then ends, too
        try:
            chunk = connection.recv(MAX_HEAD_BYTES)
        except OSError:
            return None
        if not chunk:
            return None
        raw += chunk
    request, *lines = raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return request, {name.strip().lower(): value.strip() for name, _, value in fields}


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """Return from where to where a file is asked for; None where it has no such part."""
    if not asked:
        return 0, size
    match = _RANGE.fullmatch(asked)
    if match is None:
        return None
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    return (start, end) if start < end else None
