"""The gateway's control of servers, through the database and the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from django.db import close_old_connections

from servers_app.demand import demand, look_at, note_use
from servers_app.gateway.control import Control

Argument = TypeVar("Argument")

# Not the thread that reads the routing table: SQLite may keep a writer waiting for 20 s,
# and a broker that has gone for one.
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-writer")


def _in_writer(write: Callable[[Argument], object]) -> Callable[[Argument], Awaitable[object]]:
    def call(argument: Argument) -> object:
        close_old_connections()
        try:
            return write(argument)
        finally:
            close_old_connections()

    async def run(argument: Argument) -> object:
        return await asyncio.get_running_loop().run_in_executor(_writer, call, argument)

    return run


CONTROL: Final = Control(
    demand=_in_writer(demand), look_at=_in_writer(look_at), note_use=_in_writer(note_use)
)
