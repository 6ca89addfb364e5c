"""A key that is for some models sees and gets no others."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Literal

import aiohttp
import pytest
from aiohttp import web

from servers_app.gateway.app import Gateway
from servers_app.gateway.errors import ModelNotFoundError
from servers_app.gateway.query import Query
from servers_app.gateway.routes import RoutingTable, TierRule, TwoStage
from tests.servers_app.gateway.conftest import (
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    make_table,
    until,
)
from tests.servers_app.gateway.sites import (
    CHAT,
    OTHER,
    SECRET,
    Site,
    ask,
    listed,
    make_key,
    open_site,
)


@pytest.fixture
async def site(stage: Stage, stack: AsyncExitStack) -> Site:
    return await open_site(stage, stack)


async def say_in_a_stream(_request: web.Request) -> web.StreamResponse:
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    text = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    return web.Response(text=text, content_type="text/event-stream")


def tiers(*model_ids: str, url: str = "http://127.0.0.1:1") -> RoutingTable:
    """Return a table with a model of each tier, and two stages."""
    routes = [
        make_route(id_, make_replica(url, server_id=number), tier=tier)
        for number, (id_, tier) in enumerate(
            zip(model_ids, ("fast", "balanced", "powerful"), strict=True), 1
        )
    ]
    rules = (TierRule("fast", 3.0, 2.0), TierRule("powerful", None, 15.0))
    return replace(make_table(*routes), tiers=rules, two_stage=TwoStage("fast", "powerful", 50))


async def test_a_key_sees_its_models_alone(site: Site, client: aiohttp.ClientSession) -> None:
    await site.show(
        tiers("a", "b", "c"),
        (SECRET, make_key(model_ids=frozenset({"b"}))),
        (OTHER, make_key()),
    )

    assert await listed(client, site, SECRET) == ["auto", "balanced", "two-stage", "b"]
    assert len(await listed(client, site, OTHER)) == 8


@pytest.mark.parametrize("path", [CHAT, "/v1/models/a"])
async def test_another_model_is_as_one_that_does_not_exist(
    site: Site, client: aiohttp.ClientSession, path: str
) -> None:
    await site.show(tiers("a", "b", "c"), (SECRET, make_key(model_ids=frozenset({"b"}))))
    headers = {"Authorization": f"Bearer {SECRET}"}
    method, body = ("POST", {"model": "a"}) if path == CHAT else ("GET", None)

    async with client.request(method, site.url + path, json=body, headers=headers) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (404, "model_not_found")
    assert error["message"].endswith("Available: auto, balanced, two-stage, b")


@pytest.mark.parametrize("name", ["auto", "fast", "powerful", "two-stage", "b"])
async def test_whatever_is_chosen_is_one_of_its_models(
    site: Site, make_upstream: MakeUpstream, client: aiohttp.ClientSession, name: str
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}
        return web.json_response(said)

    upstream = await make_upstream(answer)
    await site.show(
        tiers("a", "b", "c", url=upstream.url), (SECRET, make_key(model_ids=frozenset({"b"})))
    )

    status, _, headers = await ask(client, site, name, Authorization=f"Bearer {SECRET}")

    assert (status, headers["X-Magi-Model"]) == (200, "b")
    assert {call.headers["authorization"] for call in upstream.received} == {
        "Bearer server-key-2"
    }


async def test_a_key_none_of_whose_models_is_enabled_finds_none(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(tiers("a", "b", "c"), (SECRET, make_key(model_ids=frozenset({"gone"}))))

    for name in ("auto", "fast", "a", "gone"):
        status, body, _ = await ask(client, site, name, Authorization=f"Bearer {SECRET}")
        assert status == 404
        assert "none of those that it may use" in body["error"]["message"]
    assert await listed(client, site, SECRET) == []


async def test_a_request_that_waits_gets_no_model_that_it_may_not_use(
    site: Site, make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    loading = replace(tiers("a", "b", "c"), queue_wait_seconds=60)
    loading = replace(
        loading,
        routes={
            id_: replace(route, replicas=(replace(route.replicas[0], state="starting"),))
            for id_, route in loading.routes.items()
        },
    )
    key = (SECRET, make_key(model_ids=frozenset({"b"})))
    await site.show(loading, key)
    asking = asyncio.create_task(ask(client, site, "auto", Authorization=f"Bearer {SECRET}"))
    loads = site.stage.loads
    await until(lambda: site.stage.loads > loads + 3)

    others = tiers("a", "b", "c", url=upstream.url)
    await site.show(replace(others, queue_wait_seconds=60), key)

    _, _, headers = await asking
    assert headers["X-Magi-Model"] == "b"


@pytest.mark.parametrize("mode", ["simple", "two-stage"])
async def test_a_question_of_the_rest_api_is_answered_by_its_models(
    stage: Stage, stack: AsyncExitStack, make_upstream: MakeUpstream, mode: Literal["simple"]
) -> None:
    upstream = await make_upstream(say_in_a_stream)
    stage.table = tiers("a", "b", "c", url=upstream.url)
    gateway = Gateway(stage.load, stage.control, refresh_seconds=3600)
    await gateway.startup()
    stack.push_async_callback(gateway.shutdown)

    asked = gateway.query(Query("Hi", mode), key="magi_1", model_ids=frozenset({"b"}))
    events = [event async for event in asked]

    assert {stage["model_id"] for stage in events[-1].data["stages"]} == {"b"}
    with pytest.raises(ModelNotFoundError, match="none of those that it may use"):
        await anext(gateway.query(Query("Hi", "simple"), model_ids=frozenset({"gone"})))
