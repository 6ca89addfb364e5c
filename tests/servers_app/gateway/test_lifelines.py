"""Names of hosts that nobody can look up, and who listens to a Redis that is cut off."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis import RedisError

from servers_app.gateway import lifelines
from servers_app.gateway.lifelines import connected, is_cut_off
from servers_app.gateway.peers import RedisChannel
from tests.redis_server import PATIENCE_S, RedisServer
from tests.servers_app.gateway.cutting import cuttable
from tests.servers_app.gateway.wire import Caller


async def test_a_name_that_nobody_looks_up_in_time_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(*_about: object, **_more: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(lifelines, "_LAG_S", 0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)

    with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is what is asked below
        await asyncio.wait_for(connected("node-7", 8080, 0.05), PATIENCE_S)

    assert is_cut_off(caught.value)


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.example"])
async def test_what_can_be_no_name_takes_no_connection(host: str) -> None:
    with pytest.raises(OSError, match="is not the name of a host"):
        await connected(host, 8080, 1.0)


async def test_who_only_listens_notices_that_redis_is_cut_off(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifelines, "IDLE_S", 1)
    monkeypatch.setattr(lifelines, "PROBES", 1)
    is_open = asyncio.Event()

    async def pass_on(caller: Caller) -> None:
        path = redis_server.url.removeprefix("unix://")
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pour(caller.reader, writer))
                ways.create_task(_pour(reader, caller.writer))
        finally:
            writer.close()

    async def listen(messages: AsyncIterator[bytes | None]) -> None:
        async for _ in messages:
            is_open.set()

    async with cuttable(pass_on) as there:
        channel = RedisChannel(there.url.replace("http:", "redis:"), "magi:0:gateway")
        listening = asyncio.create_task(listen(channel.messages()))
        await asyncio.wait_for(is_open.wait(), PATIENCE_S)

        there.cut()
        await asyncio.wait({listening}, timeout=PATIENCE_S)

        assert listening.done()
        assert isinstance(listening.exception(), RedisError | OSError)
        await channel.close()


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(2**16):
        sink.write(piece)
    sink.close()  # as the other end has
