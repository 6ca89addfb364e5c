"""A small TCP balancer: new connections go in turn to the backends whose /ready is 200."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

CHECK_S = 0.2
HOST = "127.0.0.1"
_ASK = b"GET /ready HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n"


class Balancer:
    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._ready: list[int] = []
        self._turn = 0
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect somebody to a backend, both ways, until both have ended."""
        self._turn += 1
        port = self._ready[self._turn % len(self._ready)]
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, port)
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            writer.close()

    async def keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check()

    async def check(self) -> None:
        ready = [port for port in self._ports if await _is_ready(port)]
        self._ready = ready or self._ready


@asynccontextmanager
async def balancing(ports: Sequence[int]) -> AsyncIterator[Balancer]:
    balancer = Balancer(ports)
    await balancer.check()
    checking = asyncio.create_task(balancer.keep_checking())
    server = await asyncio.start_server(balancer.take, HOST, 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        checking.cancel()
        with suppress(asyncio.CancelledError):
            await checking


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def _is_ready(port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(_ASK)
                return (await reader.read()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    return False
