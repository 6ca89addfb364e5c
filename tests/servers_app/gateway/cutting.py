"""Servers whose network can be cut: what comes to them is dropped, and nothing says so.

A filter of the kernel on their sockets drops each packet before TCP sees it. So nothing is
acknowledged, and no connection is refused, as when a cable is pulled.
"""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.servers_app.gateway.wire import Converse, Server

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER of asm-generic/socket.h
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # return 0
_PROGRAM: Final = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))  # struct sock_fprog


class CuttableServer(Server):
    """Says what `converse` has it say."""

    def __init__(self, converse: Converse) -> None:
        super().__init__(converse)
        self.sockets: list[Any] = []  # as asyncio has them
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, _ATTACH, _PROGRAM)

    def mend(self) -> None:
        if not self.is_cut:
            return
        self.is_cut = False
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, _DETACH, 0)

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.sockets.append(writer.get_extra_info("socket"))
        try:
            await super().__call__(reader, writer)
        finally:
            self.sockets.remove(writer.get_extra_info("socket"))


@asynccontextmanager
async def cuttable(
    converse: Converse, host: str = "127.0.0.1"
) -> AsyncIterator[CuttableServer]:
    server = CuttableServer(converse)
    listener = await asyncio.start_server(server, host, 0)
    server.sockets.append(listener.sockets[0])
    server.url = f"http://{host}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        server.mend()
        listener.close()
