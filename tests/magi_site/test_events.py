"""GET /api/events, with a real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from pytest_django import Settings
from redis.asyncio import Redis

from magi_site.event_hub import EventHub
from magi_site.events import EventStream
from models_app.events import SCAN, SERVER, channel, event_json
from tests.magi_site.listening import PATIENCE_S, Client, parse_events, serving, until
from tests.redis_server import RedisServer


class OtherSide:
    """The other side: it publishes, and counts the subscriptions."""

    def __init__(self, url: str) -> None:
        self.channel = channel(url)
        self.redis = Redis.from_url(url)

    async def publish(self, kind: str, **data: object) -> int:
        return int(await self.redis.publish(self.channel, event_json(kind, data)))

    async def subscriptions(self) -> int:
        ((_, count),) = await self.redis.pubsub_numsub(self.channel)
        return int(count)

    async def until_nobody_subscribes(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if not await self.subscriptions():
                    return
                await asyncio.sleep(0.005)


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[OtherSide]:
    side = OtherSide(redis_server.url)
    yield side
    await side.redis.aclose()


@pytest.fixture
async def stream(redis_server: RedisServer) -> AsyncIterator[EventStream]:
    stream = EventStream(EventHub(max_pending=4, pause_s=0.05))
    yield stream
    await stream.shutdown()


@pytest.fixture
async def connect(stream: EventStream) -> AsyncIterator[Callable[[], Client]]:
    """Return a function that gives a client which has called; all leave in the end."""
    clients: list[Client] = []

    def call() -> Client:
        client = Client()
        client.call(stream)
        clients.append(client)
        return client

    yield call
    for client in clients:
        client.reads.set()
        await client.leave()


async def test_a_listener_is_told_what_happens(
    connect: Callable[[], Client], redis: OtherSide
) -> None:
    client = connect()
    await until(lambda: bool(client.text))

    await redis.publish(SERVER, model_id="qwen3_4p0b_q4km_fast", state="ready")

    await until(lambda: bool(client.events))
    kind, data = client.events[0]
    assert (kind, data["kind"], data["state"]) == ("server", "server", "ready")
    assert client.status == 200
    assert client.headers[b"content-type"] == b"text/event-stream"
    assert client.text.startswith("retry: 2000\n\n")


async def test_all_listeners_share_one_subscription_which_goes_with_the_last(
    connect: Callable[[], Client], redis: OtherSide
) -> None:
    clients = [connect() for _ in range(5)]
    await until(lambda: all(client.text for client in clients))

    reached = await redis.publish(SCAN, node="local")

    assert reached == 1
    await until(lambda: all(client.kinds == ["scan"] for client in clients))
    for client in clients[:-1]:
        await client.leave()
    assert await redis.subscriptions() == 1
    await clients[-1].leave()
    await redis.until_nobody_subscribes()


async def test_after_the_last_has_left_another_may_come(
    connect: Callable[[], Client], redis: OtherSide
) -> None:
    first = connect()
    await until(lambda: bool(first.text))
    await first.leave()

    second = connect()
    await until(lambda: bool(second.text))
    await redis.publish(SCAN, node="local")

    await until(lambda: second.kinds == ["scan"])


async def test_a_slow_listener_loses_the_oldest_and_is_told_so(
    connect: Callable[[], Client], redis: OtherSide
) -> None:
    slow, quick = connect(), connect()
    await until(lambda: bool(slow.text) and bool(quick.text))
    slow.reads.clear()
    for number in range(10):
        await redis.publish(SCAN, files_seen=number)
    await until(lambda: len(quick.events) == 10)

    slow.reads.set()

    await until(lambda: bool(slow.events) and slow.events[-1][1].get("files_seen") == 9)
    seen = [data["files_seen"] for kind, data in slow.events if kind == "scan"]
    (lost,) = [data["count"] for kind, data in slow.events if kind == "lost"]
    assert seen[-4:] == [6, 7, 8, 9]  # as many as it may be behind
    assert len(seen) + lost == 10


async def test_a_silent_stream_is_pinged(redis_server: RedisServer) -> None:
    stream = EventStream(ping_seconds=0.01)
    client = Client()
    client.call(stream)

    await until(lambda: client.text.count(": ping\n\n") >= 2)

    await client.leave()
    await stream.shutdown()


async def test_without_redis_the_call_is_refused_in_json(
    connect: Callable[[], Client], redis_server: RedisServer
) -> None:
    redis_server.kill()

    client = connect()
    await client.until_ended()

    assert client.status == 503
    assert "Redis" in json.loads(client.text)["detail"]


async def test_when_redis_goes_the_streams_stay_and_go_on_when_it_is_back(
    connect: Callable[[], Client], redis_server: RedisServer, redis: OtherSide
) -> None:
    client = connect()
    await until(lambda: bool(client.text))

    redis_server.kill()
    await until(lambda: client.kinds == ["unavailable"])
    late = connect()
    await late.until_ended()
    await asyncio.to_thread(redis_server.start)
    await until(lambda: client.kinds == ["unavailable", "available"])
    await redis.publish(SCAN, node="local")

    await until(lambda: client.kinds == ["unavailable", "available", "scan"])
    assert late.status == 503


async def test_what_others_say_on_the_channel_is_not_passed_on(
    connect: Callable[[], Client], redis: OtherSide
) -> None:
    client = connect()
    await until(lambda: bool(client.text))

    for payload in ("no JSON", "[]", "{}", '{"kind": []}', '{"kind": "x\\nevent: y"}'):
        await redis.redis.publish(redis.channel, payload)
    await redis.redis.publish(redis.channel, '{"kind":\n\n"scan"}')

    await until(lambda: bool(client.events))
    assert client.events == [("scan", {"kind": "scan"})]


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "DELETE"])
async def test_only_get_is_possible(stream: EventStream, method: str) -> None:
    client = Client()
    client.call(stream, method)
    await client.until_ended()

    assert client.status == 405
    assert client.headers[b"allow"] == b"GET"


async def test_the_end_of_the_server_is_the_end_of_the_streams(
    stream: EventStream, connect: Callable[[], Client], redis: OtherSide
) -> None:
    client = connect()
    await until(lambda: bool(client.text))

    await stream.shutdown()

    await client.until_ended()
    assert client.sent[-1]["more_body"] is False
    await redis.until_nobody_subscribes()


async def test_a_real_client_listens_and_leaves(stream: EventStream, redis: OtherSide) -> None:
    async with serving(stream) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/events") as response:
            await response.content.readuntil(b"\n\n")
            await redis.publish(SCAN, node="local")
            block = await response.content.readuntil(b"\n\n")

        assert parse_events(block.decode())[0][1]["node"] == "local"
        await redis.until_nobody_subscribes()


async def test_the_site_dispatches_it_behind_the_guard(
    redis_server: RedisServer, settings: Settings
) -> None:
    from magi_site.asgi import application, event_stream  # noqa: PLC0415 - reads settings

    ours, foreign = Client(), Client()
    ours.call(application)
    foreign.call(application, origin="https://evil.example")

    await until(lambda: bool(ours.text))
    await foreign.until_ended()
    await ours.leave()
    await event_stream.shutdown()
    assert (ours.status, foreign.status) == (200, 403)
