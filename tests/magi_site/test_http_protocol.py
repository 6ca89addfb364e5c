"""The head of a request is bounded, and so is how long its answer waits to be read."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import uvicorn

from magi_site import http_protocol
from magi_site.http_protocol import MAX_HEAD_BYTES, BoundedProtocol
from servers_app.gateway.asgi import Receive, Scope, Send
from tests.magi_site.listening import PATIENCE_S, until

MUCH = b"a" * 2**25  # far more than the buffers of a connection hold


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, and say how large it was; or send a great deal."""
    if scope["path"] == "/much":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": MUCH})
        return
    size_bytes, has_more = 0, True
    while has_more:
        message = await receive()
        size_bytes += len(message.get("body", b""))
        has_more = message.get("more_body", False)
    headers = [(b"content-length", str(len(str(size_bytes))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(size_bytes).encode()})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server on this port, with the protocol that MAGI's web server has."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, http=BoundedProtocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving
    listener.close()


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """Send pieces, and return all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    except ConnectionError:  # it hung up while we were still writing
        return b""
    finally:
        writer.close()


def request(headers: bytes = b"", target: bytes = b"/", body: bytes = b"") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return b"POST %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s%s\r\n%s" % (
        target,
        length,
        headers,
        body,
    )


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (b"x: " + b"a" * (MAX_HEAD_BYTES + 1) + b"\r\n", b"/"),
        (b"x: " + b"a" * 2**20 + b"\r\n", b"/"),
        (b"x: %s\r\n" % (b"a" * 1000) * 100, b"/"),
        (b"x: a\r\n" * 300, b"/"),
        (b"", b"/" + b"a" * (MAX_HEAD_BYTES + 1)),
    ],
    ids=["a header", "a header of 1 MiB", "many headers", "very many headers", "a target"],
)
async def test_a_head_that_is_too_large_is_refused(
    port: int, headers: bytes, target: bytes
) -> None:
    answer = await answer_to(port, request(headers, target))

    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""


async def test_whoever_sends_a_head_without_end_is_told_and_hung_up_on(port: int) -> None:
    pieces = [b"POST / HTTP/1.1\r\nx: ", *[b"a" * 2**14] * 5]

    assert (await answer_to(port, *pieces)).startswith(b"HTTP/1.1 431 ")


async def test_chunks_and_trailers_without_end_are_hung_up_on(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"

    for start in (b"5;ext=", b"0\r\ntrailer: "):
        answer = await answer_to(port, head + start, *[b"a" * 2**14] * 64)

        assert not answer.startswith(b"HTTP/1.1 200 ")


async def test_large_bodies_and_large_heads_below_the_bound_pass(port: int) -> None:
    for size in (0, 2**16, 3 * 2**20):
        headers = b"x: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n"

        answer = await answer_to(port, request(headers, body=b"b" * size))

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n%d" % size)


async def test_a_body_in_many_chunks_is_no_head(port: int) -> None:
    head = (
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"4000\r\n" + b"a" * 2**14 + b"\r\n"

    answer = await answer_to(port, head, *[chunk] * 20, b"0\r\n\r\n")

    assert answer.endswith(b"%d" % (20 * 2**14))


async def test_each_request_of_a_connection_has_the_whole_bound(port: int) -> None:
    headers = b"x: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    kept = request(headers).replace(b"connection: close\r\n", b"")

    answer = await answer_to(port, kept, kept, kept, request(headers))

    assert answer.count(b"HTTP/1.1 200 ") == 4


async def test_what_is_no_http_is_answered_as_before(port: int) -> None:
    assert (await answer_to(port, b"hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_websocket_is_not_opened(port: int) -> None:
    handshake = (
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    answer = await answer_to(port, handshake)

    assert not answer.startswith(b"HTTP/1.1 101 ")


async def test_whoever_does_not_read_is_hung_up_on(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "UNREAD_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(request(target=b"/much"))
    await asyncio.sleep(1)

    taken = 0
    with suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(2**20), PATIENCE_S):
            taken += len(piece)

    assert 0 < taken < len(MUCH)
    writer.close()


async def test_whoever_reads_slowly_gets_everything(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "UNREAD_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(request(target=b"/much"))
    taken = 0
    for _ in range(8):
        await asyncio.sleep(0.1)
        taken += len(await reader.read(2**21))

    taken += len(await asyncio.wait_for(reader.read(), PATIENCE_S))

    assert taken > len(MUCH)
    writer.close()
