"""The gateway between a hostile client and a server, and a hostile server and a browser."""

from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from servers_app.gateway.app import Gateway
from servers_app.gateway.asgi import SAFE
from servers_app.gateway.routes import RoutingTable
from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    serving_gateway,
)

WITH_ADDRESS = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"image_url": {"url": "http://169.254.169.254"}}]}
    ],
}


@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses", "anything/else"])
async def test_no_server_is_asked_to_fetch_what_a_request_names(
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
    path: str,
) -> None:
    upstream = await make_upstream()
    gateway = await make_gateway(make_table(make_route("m", make_replica(upstream.url))))

    async with client.post(f"{gateway}/v1/{path}", json=WITH_ADDRESS) as response:
        answer = await response.json()

    assert (response.status, upstream.received) == (400, [])
    assert "data: URL" in answer["error"]["message"]


async def test_an_administrator_may_have_them_fetched(
    make_upstream: MakeUpstream, stack: AsyncExitStack, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    table = make_table(make_route("m", make_replica(upstream.url)))

    async def load() -> RoutingTable:
        return table

    gateway = Gateway(load, allow_remote_media=True)
    await gateway.startup()
    stack.push_async_callback(gateway.shutdown)
    url = await stack.enter_async_context(serving_gateway(gateway))

    async with client.post(f"{url}/v1/chat/completions", json=WITH_ADDRESS) as response:
        assert (response.status, len(upstream.received)) == (200, 1)


async def test_a_server_says_nothing_in_the_name_of_magis_origin(
    make_gateway: MakeGateway, make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        hostile = {
            "set-cookie": "sessionid=x",
            "content-security-policy": "script-src *",
            "x-content-type-options": "off",
            "clear-site-data": '"*"',
            "location": "http://evil.example",
            "strict-transport-security": "max-age=1",
            "access-control-allow-origin": "*",
            "service-worker-allowed": "/",
        }
        return web.Response(text="<script>", content_type="text/html", headers=hostile)

    upstream = await make_upstream(page)
    gateway = await make_gateway(make_table(make_route("m", make_replica(upstream.url))))

    async with client.post(f"{gateway}/v1/completions", json={"model": "m"}) as response:
        headers = [(name.lower(), value) for name, value in response.headers.items()]

    assert {name for name, _ in headers}.isdisjoint(
        {"set-cookie", "clear-site-data", "location", "access-control-allow-origin",
         "strict-transport-security", "service-worker-allowed"}
    )  # fmt: skip
    for name, value in SAFE:
        assert [v for n, v in headers if n == name.decode()] == [value.decode()]
