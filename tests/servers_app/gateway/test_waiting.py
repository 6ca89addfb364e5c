"""A request for a model that is not ready has it started, and waits for it."""

import asyncio
import logging

import aiohttp
import pytest

from servers_app.gateway import background
from servers_app.gateway.routes import RoutingTable
from tests.servers_app.gateway.conftest import (
    PATIENCE_S,
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    until,
)

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://127.0.0.1:1"


async def ask(
    client: aiohttp.ClientSession, gateway: str, model: str = "qwen"
) -> tuple[int, dict[str, str]]:
    """Return the status, and the error or nothing."""
    async with client.post(f"{gateway}{CHAT}", json={"model": model}) as response:
        answer = await response.json()
        return response.status, answer.get("error", {})


async def test_a_request_that_a_ready_server_takes_asks_for_nothing(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    stage.show(make_replica((await make_upstream()).url, on_request=True))
    gateway = await make_gateway(stage.load, stage.control)

    for _ in range(5):
        assert await ask(client, gateway) == (200, {})

    assert (stage.loads, stage.demanded) == (1, [])


@pytest.mark.parametrize("state", ["stopped", "stopping"])
@pytest.mark.parametrize("model", ["qwen", "auto"])
async def test_a_request_has_a_server_started_and_is_answered_by_it(
    model: str,
    state: str,
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    stage.show(make_replica(ELSEWHERE, state=state, on_request=True))
    stage.starts((await make_upstream()).url)
    gateway = await make_gateway(stage.load, stage.control)

    assert await ask(client, gateway, model) == (200, {})
    assert stage.demanded == [1]


async def test_a_server_that_somebody_stopped_is_not_started(
    stage: Stage, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    stage.show(make_replica(ELSEWHERE, state="stopped"))
    gateway = await make_gateway(stage.load, stage.control)

    status, error = await ask(client, gateway)

    assert (status, error["code"]) == (503, "model_not_ready")
    assert stage.demanded == []


async def test_many_requests_at_once_ask_for_a_server_once(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True))

    async def load_slowly(_server_id: int) -> None:
        stage.show(make_replica(ELSEWHERE, state="starting", on_request=True))

    stage.on_demand = load_slowly
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.gather(*(ask(client, gateway) for _ in range(20)))
    await until(lambda: stage.loads > 3)
    stage.show(make_replica(upstream.url))

    assert await asking == [(200, {})] * 20
    assert stage.demanded == [1]


async def test_a_server_that_is_not_ready_in_time_is_answered_with_when_to_try_again(
    stage: Stage, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True), wait_s=0.2)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()

    assert (response.status, response.headers["Retry-After"]) == (503, "2")
    assert answer["error"]["code"] == "model_loading"
    assert stage.demanded == [1]


async def test_a_model_that_fails_to_load_ends_the_wait_with_its_reason(
    stage: Stage, make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True))

    async def load_in_vain(_server_id: int) -> None:
        stage.show(make_replica(ELSEWHERE, state="starting", on_request=True))

    stage.on_demand = load_in_vain
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.gather(*(ask(client, gateway) for _ in range(3)))
    await until(lambda: stage.loads > 3)
    failure = "llama-server ended with code 1."
    stage.show(make_replica(ELSEWHERE, state="failed", on_request=True, failure=failure))

    for status, error in await asking:
        assert (status, error["code"]) == (503, "model_not_ready")
        assert error["message"].endswith(f"its server has failed. {failure}")


async def test_a_model_that_had_failed_is_asked_for_once_more(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    stage.show(make_replica(ELSEWHERE, state="failed", failure="It was ill."))
    stage.starts((await make_upstream()).url)
    gateway = await make_gateway(stage.load, stage.control)

    assert await ask(client, gateway) == (200, {})
    assert stage.demanded == [1]


async def test_what_was_read_before_the_demand_does_not_end_the_wait(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    stage.show(make_replica(ELSEWHERE, state="failed", failure="It was ill."))
    may_end = asyncio.Event()

    async def load() -> RoutingTable:
        table = await stage.load()
        if stage.loads == 3:  # the one under way when the demand is done
            await may_end.wait()
        return table

    async def start(_server_id: int) -> None:
        await until(lambda: stage.loads == 3)
        stage.show(make_replica(upstream.url))
        asyncio.get_running_loop().call_later(0.1, may_end.set)

    stage.on_demand = start
    gateway = await make_gateway(load, stage.control, refresh_seconds=0.2)

    assert await ask(client, gateway) == (200, {})


async def test_a_server_that_is_stopped_while_it_is_waited_for_is_asked_for_again(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "CALL_INTERVAL_S", 0.0)
    upstream = await make_upstream()
    stage.show(make_replica(ELSEWHERE, state="starting", on_request=True))
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.create_task(ask(client, gateway))
    await until(lambda: stage.demanded == [1])
    stage.starts(upstream.url)
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True))

    assert await asking == (200, {})
    assert stage.demanded == [1, 1]


async def test_auto_waits_for_what_is_starting_and_starts_nothing_else(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    asleep = make_route("a", make_replica(ELSEWHERE, state="stopped", on_request=True))
    stage.show_routes(
        asleep, make_route("b", make_replica(ELSEWHERE, server_id=2, state="starting"))
    )
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.create_task(ask(client, gateway, "auto"))
    await until(lambda: stage.loads > 3)
    stage.show_routes(asleep, make_route("b", make_replica(upstream.url, server_id=2)))

    assert await asking == (200, {})
    assert stage.demanded == [2]


async def test_auto_goes_on_to_the_next_model_when_one_fails_to_load(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    broken = make_route("a", make_replica(ELSEWHERE, state="failed", failure="It is broken."))
    stage.show_routes(
        make_route("a", make_replica(ELSEWHERE, state="stopped", on_request=True)),
        make_route("b", make_replica(ELSEWHERE, server_id=2, state="stopped", on_request=True)),
    )

    async def start(server_id: int) -> None:
        url, state = (upstream.url, "ready") if server_id == 2 else (ELSEWHERE, "stopped")
        replica = make_replica(url, server_id=2, state=state, on_request=True)
        stage.show_routes(broken, make_route("b", replica))

    stage.on_demand = start
    gateway = await make_gateway(stage.load, stage.control)

    assert await ask(client, gateway, "auto") == (200, {})
    assert stage.demanded == [1, 2]


async def test_a_client_that_leaves_stops_waiting_and_the_load_goes_on(
    stage: Stage,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="servers_app.gateway.app")
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True))
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def start(_server_id: int) -> None:
        await may_end.wait()
        has_ended.set()

    stage.on_demand = start
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.create_task(ask(client, gateway))
    await until(lambda: stage.demanded == [1])
    asking.cancel()
    await until(lambda: "left" in caplog.text)
    loads = stage.loads
    may_end.set()
    await asyncio.wait_for(has_ended.wait(), PATIENCE_S)
    await asyncio.sleep(0.3)  # three times as long as between two looks at the table

    assert (stage.loads, stage.demanded) == (loads, [1])


async def test_a_demand_that_fails_is_told_once_and_the_request_waits_on(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "CALL_INTERVAL_S", 0.0)
    caplog.set_level(logging.INFO, logger="servers_app.gateway.waiting")
    upstream = await make_upstream()
    stage.show(make_replica(ELSEWHERE, state="stopped", on_request=True))

    async def fail_twice(_server_id: int) -> None:
        if len(stage.demanded) < 3:
            message = "the database is gone"
            raise OSError(message)
        stage.show(make_replica(upstream.url))

    stage.on_demand = fail_twice
    gateway = await make_gateway(stage.load, stage.control)

    assert await ask(client, gateway) == (200, {})
    assert caplog.text.count("A server could not be asked for. OSError: the database") == 1
    assert "Servers can be asked for again." in caplog.text
