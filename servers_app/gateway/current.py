"""The gateway that runs in this process, for the code of ours that is not in its loop."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from servers_app.gateway.query import Event, Query


class Queried(Protocol):
    """What answers questions: the gateway."""

    def query(self, query: Query, *, key: str = "") -> AsyncGenerator[Event, None]: ...


class Running(NamedTuple):
    gateway: Queried
    loop: asyncio.AbstractEventLoop  # its requests run in this one


class _Process:
    running: Running | None = None


def current() -> Running | None:
    """Return the gateway; None in a process that serves no /v1, such as a worker."""
    return _Process.running


def set_current(running: Running | None) -> None:
    """Make it known when it has started, and take it back before it stops."""
    _Process.running = running
