"""The listeners of the events' benchmark: at /api/events, or at Redis itself.

    python -m benchmarks.events_parts {web,redis} PLACE COUNT EVENTS [LAST_EVENT_ID]

It says "there" when all of them listen, and ends when each has had EVENTS events. Times
cross processes by CLOCK_MONOTONIC, which is the whole machine's.
"""

import asyncio
import json
import re
import socket
import sys
import time

import uvloop

HOST = "127.0.0.1"
_AT = re.compile(rb'"at_ns": (\d+)')


class Listeners:
    """All of them, and how long what they were told was on its way."""

    def __init__(self, count: int, events: int, *, says_there: bool) -> None:
        self._absent = count
        self._left = count
        self._events = events
        self._says_there = says_there
        self.is_over = asyncio.Event()
        self.delays_s: list[float] = []

    def there(self) -> None:
        self._absent -= 1
        if not self._absent and self._says_there:
            sys.stdout.write("there\n")
            sys.stdout.flush()

    def done(self) -> None:
        self._left -= 1
        if not self._left:
            self.is_over.set()

    @property
    def events(self) -> int:
        return self._events


class Listener(asyncio.Protocol):
    """One connection: it sends what it was given, and reads on until it has had its events."""

    def __init__(self, request: bytes, listeners: Listeners) -> None:
        self._request = request
        self._listeners = listeners
        self._is_there = False
        self._seen = 0
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]  # it is one that writes

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if not self._is_there:
            self._is_there = True
            self._listeners.there()
        data = self._rest + data
        end = 0
        for match in _AT.finditer(data):
            end = match.end()
            self._seen += 1
            self._listeners.delays_s.append((now_ns - int(match[1])) / 1e9)
            if self._seen == self._listeners.events:
                self._listeners.done()
        self._rest = data[max(end, len(data) - 40) :]


async def _listen(kind: str, place: str, count: int, events: int, last_event_id: str) -> None:
    listeners = Listeners(count, events, says_there=not last_event_id)
    began = time.monotonic()
    transports = [
        await _connected(Listener(_request(kind, place, last_event_id), listeners), kind, place)
        for _ in range(count)
    ]
    await listeners.is_over.wait()
    took_s = time.monotonic() - began
    for transport in transports:
        transport.close()
    ordered = sorted(listeners.delays_s)
    found = {
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
        "max_ms": ordered[-1] * 1000,
        "events": len(ordered),
        "took_s": took_s,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _request(kind: str, place: str, last_event_id: str) -> bytes:
    if kind == "redis":
        return f"SUBSCRIBE {place.split('#')[1]}\r\n".encode()
    header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
    return f"GET /api/events HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\n".encode()


async def _connected(listener: Listener, kind: str, place: str) -> asyncio.BaseTransport:
    loop = asyncio.get_running_loop()
    if kind == "web":
        transport, _ = await loop.create_connection(lambda: listener, HOST, int(place))
        return transport
    # Its socket has room for a few to wait at; a blocking connect waits for room.
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place.split("#", 1)[0])
    made, _ = await loop.create_unix_connection(lambda: listener, sock=connection)
    return made


if __name__ == "__main__":
    _kind, _place, _count, _events, *_last = sys.argv[1:]
    uvloop.run(_listen(_kind, _place, int(_count), int(_events), _last[0] if _last else ""))
