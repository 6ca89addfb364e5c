"""Servers that say what a test tells them to, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from servers_app.gateway.http1 import Connection, post_head
from servers_app.gateway.pool import Pool

Converse = Callable[["Caller"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


class Caller:
    """The gateway, as a server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Return the body of its next request, or nothing if it has hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""
        length = int(head.rpartition(b"content-length: ")[2])
        return await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Server:
    def __init__(self, converse: Converse) -> None:
        self.url = ""
        self.connections = 0
        self.hung_up = asyncio.Event()
        self._converse = converse

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            await self._converse(Caller(reader, writer))
        except ConnectionError:
            pass
        finally:
            self.hung_up.set()
            writer.close()


@asynccontextmanager
async def serving(converse: Converse, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server(converse)
    listener = await asyncio.start_server(server, host, 0)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        yield server
    finally:
        listener.close()


def always(answer: bytes) -> Converse:
    """Give each request the same answer."""

    async def converse(caller: Caller) -> None:
        while await caller.request():
            await caller.say(answer)

    return converse


def once(answer: bytes) -> Converse:
    """Answer one request, and close the connection."""

    async def converse(caller: Caller) -> None:
        await caller.request()
        await caller.say(answer)

    return converse


async def ask(pool: Pool, url: str, body: bytes = b"{}") -> Connection:
    return await pool.ask(url, post_head(url, "/v1/x", [], len(body)), body)


async def read_all(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


async def body_of(pool: Pool, url: str) -> bytes:
    connection = await ask(pool, url)
    try:
        return await read_all(connection)
    finally:
        pool.release(connection)
