"""What the gateway has written down of which servers are in use."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection

import aiohttp
import pytest

from servers_app.gateway import usage
from servers_app.gateway.background import cancelled
from servers_app.gateway.usage import Usage
from tests.servers_app.gateway.conftest import (
    LONG_S,
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    until,
)

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "WRITE_INTERVAL_S", 0.1)
    monkeypatch.setattr(usage, "IN_USE_INTERVAL_S", 0.2)


@pytest.fixture
async def written() -> AsyncIterator[tuple[Usage, list[set[int]]]]:
    """A usage at work, and what it has written down."""
    writes: list[set[int]] = []

    async def write(server_ids: Collection[int]) -> None:
        writes.append(set(server_ids))

    uses = Usage(write)
    noting = asyncio.create_task(uses.keep_noted())
    yield uses, writes
    await cancelled(noting)


async def test_a_request_is_written_down_when_it_comes_and_when_it_ends(
    written: tuple[Usage, list[set[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "IN_USE_INTERVAL_S", LONG_S)
    uses, writes = written

    with uses.relaying(7):
        await until(lambda: writes == [{7}])
    await until(lambda: writes == [{7}, {7}])


async def test_a_long_answer_is_written_down_again_and_again(
    written: tuple[Usage, list[set[int]]],
) -> None:
    uses, writes = written

    with uses.relaying(7):
        await until(lambda: len(writes) >= 4)
    await until(lambda: len(writes) >= 5)
    await asyncio.sleep(0.5)  # longer than between two writes
    count = len(writes)
    await asyncio.sleep(0.5)

    assert writes == [{7}] * count


async def test_requests_are_written_down_together(
    written: tuple[Usage, list[set[int]]],
) -> None:
    uses, writes = written

    for server_id in (1, 2, 1, 3):
        with uses.relaying(server_id):
            pass
    await until(lambda: bool(writes))

    assert writes == [{1, 2, 3}]


async def test_what_comes_soon_after_a_write_waits_for_the_next(
    written: tuple[Usage, list[set[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "WRITE_INTERVAL_S", LONG_S)
    monkeypatch.setattr(usage, "IN_USE_INTERVAL_S", 2 * LONG_S)
    uses, writes = written

    with uses.relaying(1):
        await until(lambda: writes == [{1}])
        with uses.relaying(2):
            await asyncio.sleep(0.3)

    assert writes == [{1}]


async def test_the_server_that_answers_is_in_use(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    stage.show(make_replica((await make_upstream()).url, server_id=7))
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert response.status == 200

    await until(lambda: {7} in stage.used)


async def test_a_server_that_is_waited_for_is_in_use(
    stage: Stage, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    stage.show(make_replica(ELSEWHERE, server_id=7, state="starting"))
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.create_task(client.post(f"{gateway}{CHAT}", json={"model": "qwen"}))
    await until(lambda: {7} in stage.used)
    asking.cancel()


async def test_a_database_that_fails_is_told_once_and_fails_no_request(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="servers_app.gateway.usage")
    failures = 0
    is_broken = True

    async def write(_self: Stage, _server_ids: Collection[int]) -> None:
        nonlocal failures
        if is_broken:
            failures += 1
            message = "the database is gone"
            raise OSError(message)

    monkeypatch.setattr(Stage, "_note_use", write)
    stage.show(make_replica((await make_upstream()).url))
    gateway = await make_gateway(stage.load, stage.control)

    async def ask() -> int:
        async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
            return response.status

    async with asyncio.timeout(PATIENCE_S):
        while failures < 3:
            assert await ask() == 200
    is_broken = False
    assert await ask() == 200
    await until(lambda: "is written down again" in caplog.text)

    assert caplog.text.count("could not be written down. OSError: the database is gone") == 1
