"""What asks the servers of a table, as the gateway does, without a gateway."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from servers_app.gateway.control import NO_CONTROL
from servers_app.gateway.live import LiveTable
from servers_app.gateway.relay import Relay
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.stages import Open, opener
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Finder

MakeOpen = Callable[[RoutingTable], Awaitable[Open]]


@pytest.fixture
def make_open(stack: AsyncExitStack) -> MakeOpen:
    async def make(table: RoutingTable) -> Open:
        async def load() -> RoutingTable:
            return table

        tables, usage = LiveTable(load), Usage(NO_CONTROL.note_use)
        await tables.refresh()
        finder = Finder(tables, usage, NO_CONTROL)
        relay = Relay(usage, finder.lose)
        stack.push_async_callback(tables.close)
        stack.push_async_callback(finder.close)
        stack.push_async_callback(relay.close)
        return opener(relay, finder)

    return make
