"""What the gateway answers by itself: models, errors, and the table it goes by."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from servers_app.gateway.choosing import Balancer
from servers_app.gateway.routes import RoutingTable
from tests.servers_app.gateway.conftest import (
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    until,
)

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://127.0.0.1:1"


async def test_models_are_listed_in_the_profiles_order_after_auto(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    table = make_table(
        make_route("zeta", make_replica(ELSEWHERE)),
        make_route("alpha", make_replica(ELSEWHERE, state="starting"), tier=None),
    )
    gateway = await make_gateway(table)

    async with client.get(f"{gateway}/v1/models") as response:
        listed = await response.json()

    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["auto", "fast", "zeta", "alpha"]
    assert listed["data"][0]["state"] == "ready"
    assert listed["data"][3] == {
        "id": "alpha",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "magi",
        "display_name": "ALPHA",
        "kind": "text",
        "tier": None,
        "context_length": 4096,
        "state": "starting",
        "root": "alpha",
        "aliases": [],
        "is_thinking": False,
    }


async def test_one_model_is_found_by_its_encoded_id(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(make_table(make_route("org/qwen 3:8b")))
    url = URL(f"{gateway}/v1/models/org%2Fqwen%203%3A8b", encoded=True)

    async with client.get(url) as response:
        card = await response.json()

    assert (response.status, card["id"], card["state"]) == (200, "org/qwen 3:8b", "stopped")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_model_that_does_not_exist_is_answered_with_those_that_do(
    method: str, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(make_table(make_route("a"), make_route("b")))
    url = f"{gateway}/v1/models/x" if method == "GET" else f"{gateway}{CHAT}"

    async with client.request(
        method, url, json={"model": "x"} if method == "POST" else None
    ) as response:
        answer = await response.json()

    assert response.status == 404
    assert answer == {
        "error": {
            "message": "The model 'x' does not exist. Available: auto, fast, a, b",
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": "model",
        }
    }


async def test_a_loading_model_is_answered_with_when_to_try_again(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    table = make_table(make_route("qwen", make_replica(ELSEWHERE, state="starting")))
    gateway = await make_gateway(table)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert (response.status, response.headers["Retry-After"]) == (503, "2")
    assert answer["error"]["code"] == "model_loading"


async def test_a_stopped_model_is_answered_with_what_to_do(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    table = make_table(make_route("qwen", make_replica(ELSEWHERE, state="stopped")))
    gateway = await make_gateway(table)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert response.status == 503
    assert "Retry-After" not in response.headers
    assert answer["error"]["code"] == "model_not_ready"
    assert "Start it in the admin" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b"{", None, id="not JSON"),
        pytest.param(b"[]", None, id="not an object"),
        pytest.param(b"{}", "model", id="no model"),
        pytest.param(b'{"model": 3}', "model", id="a model that is a number"),
    ],
)
async def test_a_body_that_cannot_be_routed_is_a_bad_request(
    body: bytes, param: str | None, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(make_table())

    async with client.post(f"{gateway}{CHAT}", data=body) as response:
        answer = await response.json()

    assert response.status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param


async def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(
    make_gateway: MakeGateway,
) -> None:
    gateway = await make_gateway(make_table(), max_body_bytes=100)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.rsplit(":", 1)[1]))

    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_unannounced_size_is_refused_when_it_grows_too_large(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(make_table(), max_body_bytes=100)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 40

    async with client.post(f"{gateway}{CHAT}", data=pieces()) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST"),
        ("HEAD", CHAT, "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("DELETE", "/v1/models/qwen", "GET"),
    ],
)
async def test_another_method_is_answered_with_the_one_allowed(
    method: str,
    path: str,
    allow: str,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    gateway = await make_gateway(make_table())

    async with client.request(method, f"{gateway}{path}") as response:
        body = await response.read()

    assert (response.status, response.headers["Allow"]) == (405, allow)
    assert method == "HEAD" or json.loads(body)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/v1/nothing", id="unknown"),
        pytest.param("POST", "/v1/", id="nothing named"),
        pytest.param("POST", "/v1/../slots", id="upwards"),
        pytest.param("POST", "/v1/%2e%2e/slots", id="upwards, encoded"),
        pytest.param("POST", "/v1/a%0d%0ab", id="a line break"),
        pytest.param("POST", "/v1/a%3Fb", id="a question mark"),
        pytest.param("POST", "/v1/%C3%A9", id="not ASCII"),
    ],
)
async def test_a_path_that_is_not_ours_is_not_found(
    method: str,
    path: str,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    gateway = await make_gateway(make_table(make_route("a", make_replica(upstream.url))))
    url = URL(f"{gateway}{path}", encoded=True)

    async with client.request(
        method, url, data=b'{"model": "a"}' if method == "POST" else None
    ) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (404, "unknown_url")
    assert not upstream.received


async def test_a_model_enabled_a_moment_ago_is_found(
    make_upstream: MakeUpstream, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    loads = 0
    newest = make_table()

    async def load() -> RoutingTable:
        nonlocal loads
        loads += 1
        return newest

    gateway = await make_gateway(load, refresh_seconds=3600)
    await asyncio.sleep(0.15)
    newest = make_table(make_route("new", make_replica(upstream.url)))

    async def ask() -> int:
        async with client.post(f"{gateway}{CHAT}", json={"model": "new"}) as response:
            return response.status

    assert await asyncio.gather(*(ask() for _ in range(5))) == [200] * 5
    assert loads == 2


async def test_many_misses_do_not_become_many_loads(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    loads = 0

    async def load() -> RoutingTable:
        nonlocal loads
        loads += 1
        return make_table()

    gateway = await make_gateway(load, refresh_seconds=3600)
    started = asyncio.get_running_loop().time()
    for _ in range(20):
        async with client.get(f"{gateway}/v1/models/x") as response:
            assert response.status == 404
    elapsed_s = asyncio.get_running_loop().time() - started

    assert loads <= 2 + elapsed_s / 0.1


async def test_the_table_follows_changes_without_a_request(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    loads = 0

    async def load() -> RoutingTable:
        nonlocal loads
        loads += 1
        return make_table(make_route("old" if loads == 1 else "new"))

    gateway = await make_gateway(load, refresh_seconds=0.01)
    await until(lambda: loads >= 3)
    async with client.get(f"{gateway}/v1/models") as response:
        listed = await response.json()

    assert [card["id"] for card in listed["data"]] == ["auto", "fast", "new"]


async def test_a_table_that_cannot_be_loaded_leaves_the_last_one_and_is_logged_once(
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="servers_app.gateway.live")
    failures = 0
    is_broken = False

    async def load() -> RoutingTable:
        nonlocal failures
        if is_broken:
            failures += 1
            message = "the database is gone"
            raise OSError(message)
        return make_table(make_route("kept"))

    gateway = await make_gateway(load, refresh_seconds=0.01)
    is_broken = True
    await until(lambda: failures >= 3)
    async with client.get(f"{gateway}/v1/models/kept") as response:
        status = response.status
    is_broken = False
    await until(lambda: "can be read again" in caplog.text)

    assert status == 200
    assert caplog.text.count("The routing table stays as it was. OSError: the database") == 1


async def test_before_any_table_was_loaded_the_gateway_says_so(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    async def load() -> RoutingTable:
        message = "no database yet"
        raise OSError(message)

    gateway = await make_gateway(load)

    async with client.post(f"{gateway}{CHAT}", json={"model": "a"}) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (503, "routes_unknown")


async def test_a_fault_of_our_own_is_answered_without_its_traceback(
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def choose(*_args: object, **_kwargs: object) -> None:
        message = "a secret"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(Balancer, "choose", choose)
    gateway = await make_gateway(make_table())

    async with client.post(
        f"{gateway}{CHAT}", json={"model": "a"}, headers={"X-Request-Id": "mine-1"}
    ) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["code"]) == (500, "internal_error")
    assert "mine-1" in answer["error"]["message"]
    assert "secret" not in answer["error"]["message"]
    assert "Request mine-1 failed in the gateway" in caplog.text


async def test_a_client_that_leaves_before_its_body_is_complete_is_no_error(
    make_gateway: MakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="servers_app.gateway.app")
    gateway = await make_gateway(make_table())
    _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.rsplit(":", 1)[1]))

    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await until(lambda: "left" in caplog.text)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
