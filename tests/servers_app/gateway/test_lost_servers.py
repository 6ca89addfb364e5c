"""A request that meets a server which has just gone, or breaks off."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    refused_url,
    until,
)

CHAT = "/v1/chat/completions"


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_request_that_meets_an_idle_stop_is_served(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    stage.show(make_replica(refused_url(), on_request=True))
    stage.starts((await make_upstream()).url)
    gateway = await make_gateway(stage.load, stage.control)
    stage.show(make_replica(refused_url(), state="stopped", on_request=True))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert response.status == 200

    assert set(stage.demanded) == {1}  # a second time, where the first took a second


async def test_a_request_that_meets_a_crash_has_it_looked_at_and_is_served_when_all_is_well(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = await make_upstream()
    stage.show(make_replica(refused_url()))
    gateway = await make_gateway(stage.load, stage.control)

    async def ask() -> int:
        async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
            return response.status

    asking = asyncio.gather(*(ask() for _ in range(5)))
    await until(lambda: stage.loads > 3)  # which show the one that has gone, still
    looked_at = list(stage.looked_at)
    stage.show(make_replica(upstream.url))

    assert await asking == [200] * 5
    assert looked_at == [1]
    assert caplog.text.count("was not reached") == 5


async def test_a_server_that_stays_away_is_given_up_in_time(
    stage: Stage, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    stage.show(make_replica(refused_url()), wait_s=0.3)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (502, "upstream_error")


async def test_a_request_that_a_server_broke_on_is_not_kept_for_its_return(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(hang_up)
    broken, gone = make_replica(upstream.url), make_replica(refused_url(), server_id=2)
    stage.show(broken, gone)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert response.status == 502

    assert len(upstream.received) == 1
    assert stage.looked_at == [1, 2]
    assert stage.demanded == []


async def test_a_server_that_breaks_off_its_answer_is_looked_at(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        return await hang_up(request)

    stage.show(make_replica((await make_upstream(break_off)).url))
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        *_, last, _ = (await response.read()).split(b"\n\n")

    assert "went away" in json.loads(last.removeprefix(b"data: "))["error"]["message"]
    assert stage.looked_at == [1]
