"""The processes of the gateway's benchmark: a server, a gateway before it, and a load.

    python -m benchmarks.gateway_parts {upstream,gateway,requests,streams,idle} ...

Times cross processes by CLOCK_MONOTONIC, which is the whole machine's.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httptools
import uvicorn
import uvloop

from magi_site.http_protocol import BoundedProtocol
from servers_app.gateway.app import Gateway
from servers_app.gateway.routes import READY, Replica, Route, RoutingTable

MODEL = "bench"
HOST = "127.0.0.1"
_PATH = "/v1/chat/completions"
_ANSWER = json.dumps(
    {"model": MODEL, "choices": [{"message": {"role": "assistant", "content": "a" * 900}}]}
).encode()
_JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Server: llama.cpp\r\nKeep-Alive: timeout=5, max=100\r\nContent-Length: %d\r\n\r\n"
) % len(_ANSWER) + _ANSWER
_EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nServer: llama.cpp\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    """Answers at once with 1 KB; a stream has `n_predict` events, one each `pause_ms`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if b'"stream"' not in body:
            self._transport.write(_JSON)
            return
        asked = json.loads(body)
        self._transport.write(_EVENTS)
        self._say(asked["n_predict"], asked["pause_ms"] / 1000)

    def _say(self, left: int, pause_s: float) -> None:
        if self._transport.is_closing():
            return
        event = b'data: {"at": %d, "text": "%s"}\n\n' % (time.monotonic_ns(), b"a" * 150)
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        if left > 1:
            asyncio.get_running_loop().call_later(pause_s, self._say, left - 1, pause_s)
        else:
            self._transport.write(b"0\r\n\r\n")


class Client(asyncio.Protocol):
    """One connection that asks, and calls `on_end` when the answer is there."""

    def __init__(self, body: bytes, on_end: Callable[["Client"], None]) -> None:
        head = f"POST {_PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer none\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._on_end = on_end
        self.first_s: float | None = None
        self.spans_s: list[float] = []  # of whole answers
        self.delays_s: list[float] = []  # of events
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._parser = httptools.HttpResponseParser(self)

    def ask(self) -> None:
        self.first_s = None
        self._asked = time.monotonic()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        if self.first_s is None:
            self.first_s = time.monotonic() - self._asked
        if piece.startswith(b'data: {"at": '):
            self.delays_s.append(time.monotonic() - int(piece[13 : piece.index(b",")]) / 1e9)

    def on_message_complete(self) -> None:
        self.spans_s.append(time.monotonic() - self._asked)
        self.refused += self._parser.get_status_code() != 200
        self._on_end(self)


async def serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, HOST, port, backlog=2048)
    await server.serve_forever()


async def serve_gateway(port: int, upstream_port: int) -> None:
    """The real gateway in a real uvicorn, with the settings of `make run`."""
    replica = Replica(1, f"http://{HOST}:{upstream_port}", "key", "alias", READY)
    route = Route(MODEL, MODEL, "fast", "text", 4096, 1, "magi", (replica,))
    table = RoutingTable({MODEL: route}, profile="benchmark")

    async def load() -> RoutingTable:
        return table

    gateway = Gateway(load)
    await gateway.startup()
    config = uvicorn.Config(
        gateway, host=HOST, port=port, lifespan="off", ws="none", log_level="warning",
        access_log=False, backlog=2048, http=BoundedProtocol,
    )  # fmt: skip
    await uvicorn.Server(config).serve()
    await gateway.shutdown()


async def load_requests(port: int, count: int, seconds: float) -> dict[str, float]:
    """Have `count` clients ask one request after another."""
    clients = await _connected(port, count, _body(), Client.ask)
    began = time.monotonic()
    for client in clients:
        client.ask()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began
    spans_s = sorted(span for client in clients for span in client.spans_s)
    _close(clients)
    return {
        "requests_per_s": len(spans_s) / took_s,
        "p50_ms": _at(spans_s, 0.5) * 1000,
        "p99_ms": _at(spans_s, 0.99) * 1000,
        "refused": sum(client.refused for client in clients),
    }


async def load_streams(port: int, count: int, events: int, pause_ms: int) -> dict[str, float]:
    """Read `count` streams side by side."""
    left = count
    is_over = asyncio.Event()

    def end(_client: Client) -> None:
        nonlocal left
        left -= 1
        if not left:
            is_over.set()

    body = _body(stream=True, n_predict=events, pause_ms=pause_ms)
    clients = await _connected(port, count, body, end)
    for client in clients:
        client.ask()
        await asyncio.sleep(pause_ms / 1000 / count)  # not all in the same moment
    await is_over.wait()
    delays_s = sorted(delay for client in clients for delay in client.delays_s)
    firsts_s = sorted(client.first_s or 0.0 for client in clients)
    _close(clients)
    return {
        "first_ms": _at(firsts_s, 0.5) * 1000,
        "delay_p50_ms": _at(delays_s, 0.5) * 1000,
        "delay_p99_ms": _at(delays_s, 0.99) * 1000,
    }


async def hold_streams(port: int, count: int) -> dict[str, float]:
    """Open streams of which nothing but the first event comes, until a line is read."""
    body = _body(stream=True, n_predict=2, pause_ms=3_600_000)
    clients = await _connected(port, count, body, lambda _client: None)
    for client in clients:
        client.ask()
    while any(client.first_s is None for client in clients):  # noqa: ASYNC110 - of 1,000 events
        await asyncio.sleep(0.05)
    sys.stdout.write("held\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    _close(clients)
    return {"streams": count}


async def _connected(
    port: int, count: int, body: bytes, on_end: Callable[[Client], None]
) -> list[Client]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Client(body, on_end), HOST, port)
        for _ in range(count)
    ]
    return [client for _, client in made]


def _close(clients: list[Client]) -> None:
    for client in clients:
        client.transport.abort()


def _body(**fields: object) -> bytes:
    messages = [{"role": "user", "content": "Say hello to everybody in this room, please."}]
    return json.dumps({"model": MODEL, "messages": messages, **fields}).encode()


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


PARTS: dict[str, Callable[..., Awaitable[dict[str, float] | None]]] = {
    "upstream": serve_upstream,
    "gateway": serve_gateway,
    "requests": load_requests,
    "streams": load_streams,
    "idle": hold_streams,
}


async def _main(name: str, *numbers: str) -> None:
    result = await PARTS[name](*map(int, numbers))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
