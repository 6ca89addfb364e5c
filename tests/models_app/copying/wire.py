"""What lies between two nodes: a proxy that cuts, spoils and stalls what it is told to."""

import contextlib
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Self

_RANGE = re.compile(rb"range: bytes=(\d+)-", re.IGNORECASE)
_TARGET = re.compile(rb"GET (\S+) ")
CHUNK = 16 * 1024


@dataclass(slots=True)
class Trouble:
    """Each cut and each stall once, in order, of answers with bytes of files."""

    cuts: deque[int] = field(default_factory=deque)  # after so many bytes
    stalls: deque[int] = field(default_factory=deque)  # after so many bytes, for good
    is_wrong: bool = False  # a bit of each answer is another


class Wire:
    """A context manager; `via` says by which address a server is reached through it."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.asked: list[tuple[str, int]] = []  # file and first byte
        self.connections = 0
        self._target = ("", 0)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ends = threading.Event()
        self._carried: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def via(self, host: str, port: int) -> str:
        self._target = (host, port)
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        self._ends.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)

    def drop(self) -> None:
        """Cut all that goes over it now."""
        for connection in list(self._carried):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._carried.clear()

    def _begin(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                self._begin(self._carry, connection)

    def _carry(self, client: socket.socket) -> None:
        self._carried.add(client)
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (chunk := client.recv(CHUNK)):
                    return
                head += chunk
            with socket.create_connection(self._target) as server:
                server.sendall(head)
                self._answer(head, client, server)

    def _answer(self, head: bytes, client: socket.socket, server: socket.socket) -> None:
        target, start = _TARGET.match(head), _RANGE.search(head)
        is_body = start is not None and target is not None
        cut = stall = None
        if target is not None and start is not None:
            self.asked.append((target[1].decode(), int(start[1])))
            cut = self.trouble.cuts.popleft() if self.trouble.cuts else None
            stall = self.trouble.stalls.popleft() if self.trouble.stalls else None
        source = server.makefile("rb")
        while (line := source.readline()) not in (b"\r\n", b""):
            client.sendall(line)
        client.sendall(b"\r\n")
        sent = 0
        while not self._ends.is_set():
            limits = [end - sent for end in (cut, stall) if end is not None]
            chunk = source.read1(min([CHUNK, *(limit for limit in limits if limit > 0)]))
            if not chunk:
                return
            if is_body and self.trouble.is_wrong:
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:] if sent else chunk
            client.sendall(chunk)
            sent += len(chunk)
            if cut is not None and sent >= cut:
                return
            if stall is not None and sent >= stall:
                while not self._ends.wait(0.05) and client in self._carried:
                    pass
                return
