"""Hosts that fall off the network while requests flow: no request fails that had not begun."""

import asyncio
import json
import socket

import aiohttp
import pytest

from servers_app.gateway import breaker, http1, lifelines, unanswered
from servers_app.gateway import pool as pool_module
from servers_app.gateway.control import NO_CONTROL
from servers_app.gateway.http1 import CutOffError, Timeouts
from servers_app.gateway.pool import Pool
from tests.servers_app.gateway.conftest import (
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    until,
)
from tests.servers_app.gateway.cutting import CuttableServer, cuttable
from tests.servers_app.gateway.wire import CHUNKED, HELLO, Caller, always, ask, body_of

CHAT = "/v1/chat/completions"
BODY = {"model": "qwen", "messages": []}
FAR = "127.0.0.2"  # another host than that of the others
STREAM = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/event-stream\r\n\r\n")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifelines, "CUT_OFF_S", 1.0)
    monkeypatch.setattr(http1, "CUT_OFF_S", 1.0)
    monkeypatch.setattr(lifelines, "IDLE_S", 1)
    monkeypatch.setattr(lifelines, "PROBES", 1)


@pytest.fixture
def timeouts() -> Timeouts:
    """Silence is not what ends a request here."""
    return Timeouts(connect_s=1.0, first_byte_s=PATIENCE_S, idle_s=PATIENCE_S)


async def test_a_request_on_a_connection_that_was_cut_goes_to_another_server(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    timeouts: Timeouts,
) -> None:
    upstream = await make_upstream()
    async with cuttable(always(HELLO), FAR) as far:
        replicas = [make_replica(far.url, server_id=1), make_replica(upstream.url, server_id=2)]
        gateway = await make_gateway(
            make_table(make_route("qwen", *replicas)), timeouts=timeouts
        )
        for _ in range(4):
            await _status(client, gateway)
        assert far.connections == 1  # it is kept

        far.cut()

        statuses = await asyncio.gather(*(_status(client, gateway) for _ in range(6)))

    assert statuses == [200] * 6


async def test_what_waits_for_an_answer_is_asked_elsewhere_when_its_server_is_cut_off(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    timeouts: Timeouts,
) -> None:
    has_come = asyncio.Event()

    async def think(caller: Caller) -> None:
        await caller.request()
        has_come.set()
        await asyncio.Event().wait()

    upstream = await make_upstream()
    async with cuttable(think, FAR) as far:
        replicas = [make_replica(far.url, server_id=1), make_replica(upstream.url, server_id=2)]
        gateway = await make_gateway(
            make_table(make_route("qwen", *replicas)), timeouts=timeouts
        )
        asking = [asyncio.create_task(_status(client, gateway)) for _ in range(2)]
        await has_come.wait()

        far.cut()

        assert await asyncio.gather(*asking) == [200, 200]


async def test_with_two_of_three_hosts_gone_a_request_finds_the_third(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    timeouts: Timeouts,
) -> None:
    upstream = await make_upstream()
    async with cuttable(always(HELLO), FAR) as one, cuttable(always(HELLO), "127.0.0.3") as two:
        urls = (one.url, two.url, upstream.url)
        replicas = [make_replica(url, server_id=n) for n, url in enumerate(urls, start=1)]
        gateway = await make_gateway(
            make_table(make_route("qwen", *replicas)), timeouts=timeouts
        )
        for _ in range(6):
            await _status(client, gateway)
        one.cut()
        two.cut()

        statuses = await asyncio.gather(*(_status(client, gateway) for _ in range(6)))

    assert statuses == [200] * 6


async def test_a_stream_of_a_host_that_is_cut_off_ends_with_an_error_event(
    make_gateway: MakeGateway, client: aiohttp.ClientSession, timeouts: Timeouts
) -> None:
    event = b'data: {"n": 1}\n\n'

    async def begin(caller: Caller) -> None:
        await caller.request()
        await caller.say(STREAM + b"%x\r\n%s\r\n" % (len(event), event))
        await asyncio.Event().wait()

    async with cuttable(begin) as server:
        table = make_table(make_route("qwen", make_replica(server.url)))
        gateway = await make_gateway(table, timeouts=timeouts)
        async with client.post(f"{gateway}{CHAT}", json={**BODY, "stream": True}) as response:
            assert await response.content.readuntil(b"\n\n") == event
            server.cut()
            last = await response.content.read()

    assert (
        "was cut off in the middle"
        in json.loads(last.removeprefix(b"data: "))["error"]["message"]
    )


async def test_one_that_thinks_for_long_is_not_taken_for_cut_off(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "CUT_OFF_S", 0.0)
    looks: list[bool | None] = []

    def look(connection: lifelines.Socket) -> bool | None:
        looks.append(lifelines.is_unheard(connection))
        return looks[-1]

    monkeypatch.setattr(http1, "is_unheard", look)
    answer = asyncio.Event()

    async def think(caller: Caller) -> None:
        await caller.request()
        await answer.wait()
        await caller.say(HELLO)

    async with cuttable(think) as server:
        asking = asyncio.create_task(body_of(pool, server.url))
        await until(lambda: bool(looks))
        await asyncio.sleep(2.5)  # longer than a dead one is given by the kernel
        answer.set()

        assert await asking == b"hello"
        assert looks == [None]


async def test_one_that_does_not_read_a_large_body_is_not_taken_for_cut_off(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool | None] = []

    def look(connection: lifelines.Socket) -> bool | None:
        looks.append(lifelines.is_unheard(connection))
        return looks[-1]

    monkeypatch.setattr(http1, "is_unheard", look)

    async def read_late(caller: Caller) -> None:
        await until(lambda: looks.count(False) > 2)
        await caller.request()
        await caller.say(HELLO)

    async with cuttable(read_late) as server:
        connection = await ask(pool, server.url, b"x" * 32 * 2**20)

        assert await connection.read() == b"hello"
        assert True not in looks


async def test_a_large_body_on_its_way_is_given_up_when_the_host_is_cut_off(pool: Pool) -> None:
    async def never_read(_caller: Caller) -> None:
        await asyncio.Event().wait()

    async with cuttable(never_read) as server:
        asking = asyncio.create_task(ask(pool, server.url, b"x" * 32 * 2**20))
        await until(lambda: server.connections > 0)
        server.cut()

        with pytest.raises(CutOffError):
            await asking


async def test_a_host_is_asked_again_when_it_is_back(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    timeouts: Timeouts,
) -> None:
    upstream = await make_upstream()
    async with cuttable(always(HELLO), FAR) as far:
        replicas = [make_replica(far.url, server_id=1), make_replica(upstream.url, server_id=2)]
        gateway = await make_gateway(
            make_table(make_route("qwen", *replicas)), timeouts=timeouts
        )
        far.cut()
        await _until_away(client, gateway, far)
        before = far.connections

        far.mend()

        async with asyncio.timeout(PATIENCE_S):
            while far.connections < before + 2:  # a probe, and then a request
                assert await _status(client, gateway) == 200
                await asyncio.sleep(0.05)


async def test_a_request_waits_for_its_only_host_however_often_it_falls_off(
    make_gateway: MakeGateway, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unanswered, "MAX_RESENDS_CUT_OFF", 1)
    monkeypatch.setattr(breaker, "FIRST_BACKOFF_S", 0.1)
    attempts: list[str] = []

    async def connect(host: str, port: int, timeout_s: float) -> socket.socket:
        attempts.append(host)
        return await lifelines.connected(host, port, timeout_s)

    monkeypatch.setattr(pool_module, "connected", connect)
    async with cuttable(always(HELLO), FAR) as far:
        route = make_route("qwen", make_replica(far.url))
        table = make_table(route, queue_wait_seconds=PATIENCE_S)
        gateway = await make_gateway(table, timeouts=Timeouts(connect_s=0.2))
        far.cut()
        asking = asyncio.create_task(_status(client, gateway))
        await until(lambda: len(attempts) > 2 or asking.done())
        assert not asking.done()

        far.mend()

        assert await asking == 200


async def test_when_all_are_cut_off_the_answer_says_so(
    make_gateway: MakeGateway, client: aiohttp.ClientSession, timeouts: Timeouts
) -> None:
    async with cuttable(always(HELLO)) as server:
        server.cut()
        table = make_table(make_route("qwen", make_replica(server.url)))
        gateway = await make_gateway(table, NO_CONTROL, timeouts=timeouts)

        async with client.post(f"{gateway}{CHAT}", json=BODY) as response:
            first = (response.status, (await response.json())["error"]["message"])
        async with client.post(f"{gateway}{CHAT}", json=BODY) as response:
            second = (response.status, (await response.json())["error"]["code"])

    assert first == (
        502, "The server of the model 'qwen' cannot be reached over the network."
    )  # fmt: skip
    assert second == (503, "model_unreachable")


async def _status(client: aiohttp.ClientSession, gateway: str) -> int:
    async with client.post(f"{gateway}{CHAT}", json=BODY) as response:
        await response.read()
        return response.status


async def _until_away(
    client: aiohttp.ClientSession, gateway: str, server: CuttableServer
) -> None:
    """Ask until a request has fallen off, so that the host is known to be away."""
    assert server.is_cut
    assert [await _status(client, gateway) for _ in range(3)] == [200] * 3
