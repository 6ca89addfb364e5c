"""The gateway that runs in this process, for the code of ours that is not in its loop."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from servers_app.gateway.breaker import BreakerState
from servers_app.gateway.query import Event, Query

REFRESH_S: Final = 1.0  # it goes on afterwards, and is done each second anyhow
# In the scope of a request to Django: a concurrent.futures.Future that is done when the
# client has left, of which a view that waits in a thread would not hear otherwise.
CLIENT_GONE: Final = "magi.client_gone"


class Queried(Protocol):
    """The gateway: what answers questions."""

    def breakers(self) -> Mapping[int, BreakerState]: ...

    def in_flight(self) -> Mapping[int, int]: ...

    async def refresh(self) -> None: ...

    def query(
        self, query: Query, *, key: str = "", model_ids: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Event, None]: ...


class Running(NamedTuple):
    gateway: Queried
    loop: asyncio.AbstractEventLoop  # its requests run in this one


class _Process:
    running: Running | None = None


def current() -> Running | None:
    """Return the gateway; None in a process that serves no /v1, such as a worker."""
    return _Process.running


def breaker_of(server_id: int) -> BreakerState | None:
    """Return a server's circuit breaker, if it has failed requests of this process lately."""
    running = _Process.running
    return None if running is None else running.gateway.breakers().get(server_id)


def in_flight_of(server_id: int) -> int | None:
    """Return the requests that a server works on; None in a process that cannot know."""
    running = _Process.running
    return None if running is None else running.gateway.in_flight().get(server_id, 0)


def refresh_here() -> None:
    """Have the gateway of this process know what was committed before: the next request may
    come as soon as it is answered. The other processes hear of it as of all changes.
    """
    if (running := _Process.running) is not None:
        refreshing = asyncio.run_coroutine_threadsafe(running.gateway.refresh(), running.loop)
        with suppress(TimeoutError):
            refreshing.result(REFRESH_S)


def set_current(running: Running | None) -> None:
    """Make it known when it has started, and take it back before it stops."""
    _Process.running = running
