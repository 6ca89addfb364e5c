from collections.abc import AsyncIterator, Iterator

import pytest

from magi_site.event_hub import EventHub
from magi_site.events import EventStream
from tests.magi_site.listening import Client, Connect, Happening
from tests.redis_server import RedisServer


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
