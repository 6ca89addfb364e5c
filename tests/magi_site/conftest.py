import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.db import connections

from magi_site.event_hub import EventHub
from magi_site.events import EventStream
from tests.magi_site.listening import Client, Connect, Happening
from tests.redis_server import RedisServer

PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@pytest.fixture
def silent_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Have whoever opens a connection from now on do so at this socket, which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        database: dict[str, Any] = {
            **connections.settings["default"],
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "magi",
            "USER": "magi",
            "PASSWORD": "hunter2-database",
            "HOST": host,
            "PORT": port,
            "OPTIONS": {},
        }
        monkeypatch.setitem(connections.settings, "default", database)
        yield listener
    for thread in threading.enumerate():
        if thread.name.startswith("look-"):
            thread.join(PATIENCE_S)


@pytest.fixture
def happening(redis_server: RedisServer) -> Iterator[Happening]:
    happening = Happening(redis_server.url)
    yield happening
    happening.close()


@pytest.fixture
async def stream(redis_server: RedisServer) -> AsyncIterator[EventStream]:
    """Give what a web process has at /api/events."""
    stream = EventStream(EventHub(pause_s=0.05))
    yield stream
    await stream.shutdown()


@pytest.fixture
async def other_stream(redis_server: RedisServer) -> AsyncIterator[EventStream]:
    """Give what another web process has."""
    stream = EventStream(EventHub(pause_s=0.05))
    yield stream
    await stream.shutdown()


@pytest.fixture
async def connect(stream: EventStream, other_stream: EventStream) -> AsyncIterator[Connect]:
    """Return a function that gives a client which has called; all leave in the end."""
    clients: list[Client] = []

    def call(stream: EventStream, query: str = "", **headers: str) -> Client:
        client = Client()
        client.call(stream, query=query, **headers)
        clients.append(client)
        return client

    yield call
    for client in clients:
        client.reads.set()
        await client.leave()
