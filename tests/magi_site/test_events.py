"""GET /api/events, with a real Redis."""

import asyncio
import json
from functools import partial

import aiohttp
import pytest
from pytest_django import Settings

from magi_site.event_hub import EventHub
from magi_site.events import EventStream
from models_app.events import FIELD, KEY
from tests.magi_site.listening import Client, Connect, Happening, parse_events, serving, until
from tests.redis_server import RedisServer


async def test_a_listener_is_told_what_happens(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))

    happening.publisher.publish("server", {"model_id": "qwen3_fast", "state": "ready"})

    await until(lambda: bool(client.events))
    kind, data = client.events[0]
    assert (kind, data["kind"], data["state"]) == ("server", "server", "ready")
    assert client.status == 200
    assert client.headers[b"content-type"] == b"text/event-stream"
    assert client.text.startswith("retry: 2000\n\n")


async def test_a_listener_hears_nothing_of_what_was_before_it_came(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    happening.publish(2)

    client = connect(stream)
    await until(lambda: bool(client.text))
    happening.publish()

    await until(lambda: client.numbers == [3])


async def test_nobody_hears_of_keys(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))

    happening.publisher.publish(KEY, {"key_id": 1})
    happening.publish()

    await until(lambda: client.kinds == ["scan"])


async def test_without_listeners_a_web_process_has_no_connection(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    happening.publish()
    before = happening.readers()

    clients = [connect(stream) for _ in range(5)]
    await until(lambda: all(client.text for client in clients))
    shared = happening.readers()
    for client in clients[:-1]:
        await client.leave()
    left = happening.readers()
    await clients[-1].leave()

    assert before == []
    assert len(shared) == 1
    assert left == shared
    await until(lambda: happening.readers() == [])


async def test_after_the_last_has_left_another_may_come(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    first = connect(stream)
    await until(lambda: bool(first.text))
    await first.leave()

    second = connect(stream)
    await until(lambda: bool(second.text))
    happening.publish()

    await until(lambda: second.kinds == ["scan"])


async def test_a_slow_listener_loses_the_oldest_and_is_told_so(
    connect: Connect, redis_server: RedisServer, happening: Happening
) -> None:
    stream = EventStream(EventHub(max_logged=4))
    slow, quick = connect(stream), connect(stream)
    await until(lambda: bool(slow.text) and bool(quick.text))
    slow.reads.clear()
    for number in range(1, 11):
        happening.publish()
        await until(partial(quick.has_got, number))

    slow.reads.set()

    await until(lambda: slow.numbers[-1:] == [10])
    (lost,) = [data["count"] for kind, data in slow.events if kind == "lost"]
    assert slow.numbers[-5:] == [None, 7, 8, 9, 10]  # as many as it may be behind
    assert len(slow.numbers) - 1 + lost == 10
    assert quick.numbers == [*range(1, 11)]


async def test_a_silent_stream_is_pinged(redis_server: RedisServer) -> None:
    stream = EventStream(ping_seconds=0.01)
    client = Client()
    client.call(stream)

    await until(lambda: client.text.count(": ping\n\n") >= 2)

    await client.leave()
    await stream.shutdown()


async def test_without_redis_the_call_is_refused_in_json(
    connect: Connect, stream: EventStream, redis_server: RedisServer
) -> None:
    redis_server.kill()

    client = connect(stream)
    await client.until_ended()

    assert client.status == 503
    assert "Redis" in json.loads(client.text)["detail"]


async def test_a_redis_that_hangs_is_not_waited_for_for_long(
    connect: Connect,
    stream: EventStream,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("magi_site.event_hub.OPEN_TIMEOUT_S", 0.05)
    with redis_server.hanging():
        client = connect(stream)
        await client.until_ended()

    assert client.status == 503


async def test_when_redis_goes_the_streams_stay_and_go_on_when_it_is_back(
    connect: Connect, stream: EventStream, redis_server: RedisServer, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))

    redis_server.kill()
    await until(lambda: client.kinds == ["unavailable"])
    late = connect(stream)
    await late.until_ended()
    await asyncio.to_thread(redis_server.start)
    await until(lambda: client.kinds == ["unavailable", "available", "lost"])
    happening.publish()

    await until(lambda: client.kinds == ["unavailable", "available", "lost", "scan"])
    assert late.status == 503


async def test_what_others_put_there_is_not_passed_on(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))

    for payload in (
        "no JSON",
        "[]",
        "{}",
        '{"kind": []}',
        '{"kind": "x\\nevent: y"}',
        "[" * 9999,
    ):
        happening.redis.xadd(happening.key, {FIELD: payload})
    happening.redis.xadd(happening.key, {"other": "{}"})
    happening.redis.xadd(happening.key, {FIELD: '{"kind":\n\n"scan"}'})

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
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))

    await stream.shutdown()

    await client.until_ended()
    assert client.sent[-1]["more_body"] is False
    await until(lambda: happening.readers() == [])


async def test_a_real_client_listens_and_leaves(
    stream: EventStream, happening: Happening
) -> None:
    async with serving(stream) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/events") as response:
            await response.content.readuntil(b"\n\n")
            happening.publish()
            block = b""
            while b"event: " not in block:
                block = await response.content.readuntil(b"\n\n")

        assert parse_events(block.decode())[0][1]["number"] == 1
        await until(lambda: happening.readers() == [])


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
