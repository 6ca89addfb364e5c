"""What a client sees when a llama-server cannot be reached, breaks or falls silent."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from servers_app.gateway.http1 import Timeouts
from tests.servers_app.gateway.conftest import (
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    never_answer,
    refused_url,
)
from tests.servers_app.gateway.wire import Caller, serving

CHAT = "/v1/chat/completions"
FIRST_EVENT = b'data: {"n": 1}\n\n'
EVENT_STREAM = {"Content-Type": "text/event-stream"}


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_after_first_event(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=EVENT_STREAM)
    await response.prepare(request)
    await response.write(FIRST_EVENT)
    assert request.transport is not None
    request.transport.close()
    return response


async def test_a_replica_that_refuses_the_connection_is_stepped_over(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    dead = make_replica(refused_url(), server_id=1)
    alive = make_replica(upstream.url, server_id=2)
    gateway = await make_gateway(make_table(make_route("qwen", dead, alive)))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert response.status == 200

    assert upstream.received[0].headers["authorization"] == "Bearer server-key-2"
    assert json.loads(upstream.received[0].body)["model"] == "alias-2"


async def test_auto_goes_on_to_the_next_model(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    dead = make_route("dead", make_replica(refused_url(), server_id=1))
    alive = make_route("alive", make_replica(upstream.url, server_id=2))
    gateway = await make_gateway(make_table(dead, alive))

    async with client.post(f"{gateway}{CHAT}", json={"model": "auto"}) as response:
        assert response.headers["X-Magi-Model"] == "alive"


async def test_when_no_replica_is_reached_the_answer_names_the_model(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    replicas = [make_replica(refused_url(), server_id=number) for number in (1, 2, 3)]
    gateway = await make_gateway(make_table(make_route("qwen", *replicas)))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert response.status == 502
    assert answer["error"]["message"] == "The server of the model 'qwen' was not reached."


async def test_a_request_that_two_servers_broke_on_is_not_shown_to_a_third(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstreams = [await make_upstream(hang_up) for _ in range(3)]
    replicas = [
        make_replica(upstream.url, server_id=number)
        for number, upstream in enumerate(upstreams)
    ]
    gateway = await make_gateway(make_table(make_route("qwen", *replicas)))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert response.status == 502
    assert "went away before it answered" in answer["error"]["message"]
    assert [len(upstream.received) for upstream in upstreams] == [1, 1, 0]


async def test_a_server_that_says_nothing_is_given_up(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(never_answer)
    table = make_table(make_route("qwen", make_replica(upstream.url)))
    gateway = await make_gateway(table, timeouts=Timeouts(first_byte_s=0.2))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (504, "upstream_timeout")
    await asyncio.wait_for(upstream.hung_up.wait(), PATIENCE_S)


async def test_a_stranger_that_does_not_speak_http_is_a_bad_gateway(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{stranger.sockets[0].getsockname()[1]}"
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(url))))

    async with stranger, client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert response.status == 502
    assert "did not answer in HTTP" in answer["error"]["message"]


async def test_a_key_that_the_server_refuses_is_not_the_clients_fault(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "Invalid API Key"}}, status=401)

    upstream = await make_upstream(refuse)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert response.status == 502
    assert "refused the key that MAGI holds" in answer["error"]["message"]


async def test_a_stream_that_breaks_ends_with_an_error_event(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = await make_upstream(break_after_first_event)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        text = await asyncio.wait_for(response.content.read(), PATIENCE_S)

    first, last, rest = text.split(b"\n\n")
    assert (first + b"\n\n", rest) == (FIRST_EVENT, b"")
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert error["message"] == (
        "The server of the model 'qwen' went away in the middle of its answer."
    )
    assert "went away in the middle" in caplog.text


async def test_a_stream_that_falls_silent_ends_with_an_error_event(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    async def fall_silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        await response.write(b'data: {"n"')
        return await never_answer(request)

    upstream = await make_upstream(fall_silent)
    table = make_table(make_route("qwen", make_replica(upstream.url)))
    gateway = await make_gateway(table, timeouts=Timeouts(idle_s=0.2))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        text = await asyncio.wait_for(response.content.read(), PATIENCE_S)

    half, last, _ = text.split(b"\n\n")
    assert half == b'data: {"n"'
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"


@pytest.mark.parametrize("length", [None, 1000])
async def test_an_answer_that_breaks_is_seen_to_be_short(
    length: int | None,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = length
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        request.transport.close()
        return response

    upstream = await make_upstream(break_off)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(response.read(), PATIENCE_S)


async def test_a_client_that_leaves_before_a_failure_is_told_leaves_no_connection(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    has_begun = asyncio.Event()

    async def begin(caller: Caller) -> None:
        await caller.request()
        await caller.say(b"HTTP/1.1 503 No\r\nContent-Length: 27\r\n\r\n")
        has_begun.set()
        await caller.request()

    async with serving(begin) as server:
        gateway = await make_gateway(make_table(make_route("qwen", make_replica(server.url))))
        asking = asyncio.create_task(client.post(f"{gateway}{CHAT}", json={"model": "qwen"}))
        await has_begun.wait()
        await asyncio.sleep(0.2)  # until it has come

        asking.cancel()

        await asyncio.wait_for(server.hung_up.wait(), PATIENCE_S)
