"""The gateway's control of servers, through the database and the queue."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import Final, TypeVar

from django.db import close_old_connections

from servers_app.apikeys import note_used
from servers_app.complexity.examples import Example
from servers_app.demand import demand, look_at, note_use
from servers_app.gateway.control import Control
from servers_app.gateway.records import record
from servers_app.requests import labelled_examples

Argument = TypeVar("Argument")
Result = TypeVar("Result")

MAX_EXAMPLES: Final = 200  # each is compared with every request

# Not the thread that reads the routing table: SQLite may keep a writer waiting for 20 s,
# and a broker that has gone for one.
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-writer")
# Nor that one: a server that is asked for does not wait for what is written of requests.
_recorder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-recorder")


def _in(
    thread: ThreadPoolExecutor, write: Callable[[Argument], Result]
) -> Callable[[Argument], Awaitable[Result]]:
    def call(argument: Argument) -> Result:
        close_old_connections()
        try:
            return write(argument)
        finally:
            close_old_connections()

    async def run(argument: Argument) -> Result:
        here = copy_context()  # whose request it is goes with what it has queued
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(thread, here.run, call, argument)

    return run


def _read_examples(limit: int) -> Sequence[Example]:
    return [Example(text, tier.value) for text, tier in islice(labelled_examples(), limit)]


async def _examples() -> Sequence[Example]:
    return await _in(_recorder, _read_examples)(MAX_EXAMPLES)


CONTROL: Final = Control(
    demand=_in(_writer, demand),
    look_at=_in(_writer, look_at),
    note_use=_in(_writer, note_use),
    note_keys=_in(_recorder, note_used),
    record=_in(_recorder, record),
    examples=_examples,
)
