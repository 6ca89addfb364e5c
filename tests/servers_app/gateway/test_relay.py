"""What passes between a client and a llama-server through the gateway."""

import asyncio
import io
import json
import logging

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.servers_app.gateway.conftest import (
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    never_answer,
    say_hello,
    until,
)

CHAT = "/v1/chat/completions"
FIRST_EVENT = b'data: {"n": 1}\n\n'
EVENT_STREAM = {"Content-Type": "text/event-stream"}


async def test_a_request_reaches_the_server_with_its_own_model_name_and_key(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(
        URL(f"{gateway}{CHAT}?a=%2F&b=1", encoded=True),
        data=b'{"model":"qwen",  "n": 1.0}',
        headers={"Authorization": "Bearer sk-secret", "X-Api-Key": "sk-secret"},
    ) as response:
        answer = await response.json()

    (received,) = upstream.received
    assert (response.status, answer["model"]) == (200, "alias-1")
    assert received.body == b'{"model":"alias-1",  "n": 1.0}'
    assert received.path_qs == f"{CHAT}?a=%2F&b=1"
    assert received.headers["authorization"] == "Bearer server-key-1"
    assert "sk-secret" not in str(received.headers)


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/messages/count_tokens", "/v1/some~new-api_2.0"]
)
async def test_any_post_that_names_a_model_is_relayed(
    path: str,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{path}", json={"model": "auto"}) as response:
        assert response.status == 200

    assert upstream.received[0].path_qs == path


async def test_a_body_of_many_megabytes_arrives_whole(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    table = make_table(make_route("qwen", make_replica(upstream.url)))
    gateway = await make_gateway(table, max_body_bytes=2**25)
    image = "A" * 20_000_000

    body = io.BytesIO(json.dumps({"image": image, "model": "qwen"}).encode())
    async with client.post(f"{gateway}{CHAT}", data=body) as response:
        assert response.status == 200

    assert json.loads(upstream.received[0].body) == {"image": image, "model": "alias-1"}


async def test_headers_of_one_hop_and_of_the_browser_stay_behind(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(
        f"{gateway}{CHAT}",
        json={"model": "qwen"},
        headers={
            "Accept-Encoding": "gzip",
            "Connection": "keep-alive, X-Private",
            "Cookie": "sessionid=1",
            "Origin": "http://evil.example",
            "Referer": "http://localhost:8000/admin/",
            "TE": "trailers",
            "X-Conversation-Id": "c1",
            "X-CSRFToken": "t1",
            "X-Private": "1",
            "Anthropic-Version": "2023-06-01",
        },
    ) as response:
        assert response.status == 200

    headers = upstream.received[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == upstream.url.removeprefix("http://")
    assert not headers.keys() & {
        "cookie", "origin", "referer", "te", "x-conversation-id", "x-csrftoken", "x-private",
    }  # fmt: skip


async def test_headers_of_the_servers_own_stay_behind_and_ours_are_added(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {},
            status=201,
            headers={
                "Access-Control-Allow-Origin": "http://evil.example",
                "Connection": "keep-alive, X-Private",
                "Keep-Alive": "timeout=5",
                "Server": "llama.cpp",
                "Set-Cookie": "a=b",
                "X-Magi-Model": "pretender",
                "X-Private": "1",
                "X-Kept": "yes",
            },
        )

    upstream = await make_upstream(answer)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        headers = response.headers

    assert (response.status, headers["X-Kept"]) == (201, "yes")
    assert headers.getall("X-Magi-Model") == ["qwen"]
    assert headers["X-Magi-Tier"] == "fast"
    assert len(headers.getall("Date")) == 1
    assert headers.getall("Server") == ["uvicorn"]
    assert not {name.lower() for name in headers} & {
        "access-control-allow-origin", "keep-alive", "set-cookie", "x-private",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        pytest.param("trace_1.2-3", True, id="plain"),
        pytest.param("x" * 128, True, id="longest"),
        pytest.param("x" * 129, False, id="too long"),
        pytest.param("a b", False, id="another character"),
    ],
)
async def test_a_request_id_is_the_clients_own_where_it_is_plain(
    given: str, is_kept: bool, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(make_table())

    async with client.get(f"{gateway}/v1/models", headers={"X-Request-Id": given}) as response:
        request_id = response.headers["X-Magi-Request-Id"]

    assert (request_id == given) is is_kept
    assert is_kept or len(request_id) == 32


async def test_each_piece_of_a_stream_arrives_before_the_next_is_sent(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    has_arrived = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        await response.write(FIRST_EVENT)
        await has_arrived.wait()
        await response.write(b"data: [DONE]\n\n")
        return response

    upstream = await make_upstream(stream)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        first = await asyncio.wait_for(response.content.readany(), PATIENCE_S)
        has_arrived.set()
        rest = await asyncio.wait_for(response.content.read(), PATIENCE_S)

    assert response.content_type == "text/event-stream"
    assert (first, rest) == (FIRST_EVENT, b"data: [DONE]\n\n")


async def test_the_servers_own_errors_pass_as_they_are(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    error = {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 512}}

    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response(error, status=400)

    upstream = await make_upstream(refuse)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert (response.status, await response.json()) == (400, error)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_a_connection_serves_one_request_after_another(
    content_type: str,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    connections: set[object] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        await response.write(FIRST_EVENT)
        return response

    upstream = await make_upstream(answer)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    for _ in range(3):
        async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
            assert await response.read() == FIRST_EVENT

    assert len(connections) == 1


async def test_a_client_that_leaves_a_stream_takes_its_server_off_the_work(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stream_forever(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        await response.write(FIRST_EVENT)
        return await never_answer(request)

    upstream = await make_upstream(stream_forever)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        await response.content.readany()
        response.close()

    await asyncio.wait_for(upstream.hung_up.wait(), PATIENCE_S)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_leaves_before_the_answer_takes_its_server_off_the_work(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream(never_answer)
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))

    with pytest.raises(TimeoutError):
        await client.post(
            f"{gateway}{CHAT}",
            json={"model": "qwen"},
            timeout=aiohttp.ClientTimeout(total=0.3),
        )

    await asyncio.wait_for(upstream.hung_up.wait(), PATIENCE_S)


async def test_requests_at_one_time_are_spread(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    may_answer = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        await may_answer.wait()
        return await say_hello(request)

    upstreams = [await make_upstream(wait) for _ in range(2)]
    replicas = [
        make_replica(upstream.url, server_id=number)
        for number, upstream in enumerate(upstreams)
    ]
    gateway = await make_gateway(make_table(make_route("qwen", *replicas)))

    async def ask() -> int:
        async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
            return response.status

    def counts() -> list[int]:
        return [len(upstream.received) for upstream in upstreams]

    asking = asyncio.gather(*(ask() for _ in range(6)))
    await until(lambda: sum(counts()) == 6)
    assert counts() == [3, 3]

    may_answer.set()
    assert await asking == [200] * 6
