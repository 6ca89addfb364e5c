"""Requests for a model whose servers have no slot free."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from servers_app.gateway.breaker import FAILURES_IN_A_ROW, Breakers
from servers_app.gateway.choosing import Balancer
from servers_app.gateway.control import NO_CONTROL
from servers_app.gateway.errors import NotReachedError
from servers_app.gateway.live import LiveTable
from servers_app.gateway.queueing import ShuttingDownError
from servers_app.gateway.routes import Replica, RoutingTable, Why
from servers_app.gateway.trace import Trace
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Finder
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import (
    LONG_S,
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


class Held:
    """What an upstream does that answers when it is told to."""

    def __init__(self) -> None:
        self.arrived = 0
        self._may_answer = asyncio.Semaphore(0)

    async def answer(self, _request: web.Request) -> web.StreamResponse:
        self.arrived += 1
        await self._may_answer.acquire()
        return web.json_response({})

    def let_go(self, requests: int = 1) -> None:
        for _ in range(requests):
            self._may_answer.release()


def busy(url: str, *, server_id: int = 1, slots: int = 1, state: str = "ready") -> Replica:
    return replace(make_replica(url, server_id=server_id, state=state), slots=slots)


async def ask(client: aiohttp.ClientSession, gateway: str) -> tuple[int, str | None]:
    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        answer = await response.json()
        return response.status, answer.get("error", {}).get("code")


async def test_a_server_gets_as_many_requests_at_once_as_it_has_slots(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    stage.show(busy((await make_upstream(held.answer)).url, slots=2))
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.gather(*(ask(client, gateway) for _ in range(5)))
    await until(lambda: held.arrived == 2)
    await asyncio.sleep(0.2)  # four looks at what is free
    arrived = held.arrived
    held.let_go()
    await until(lambda: held.arrived == 3)
    held.let_go(4)

    assert arrived == 2
    assert await asking == [(200, None)] * 5


async def test_of_two_servers_the_free_one_takes_the_request(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    urls = [(await make_upstream(held.answer)).url for _ in range(2)]
    stage.show(busy(urls[0]), busy(urls[1], server_id=2, slots=2))
    gateway = await make_gateway(stage.load, stage.control)

    asking = asyncio.gather(*(ask(client, gateway) for _ in range(3)))
    await until(lambda: held.arrived == 3)
    held.let_go(3)

    assert await asking == [(200, None)] * 3


async def test_a_client_that_leaves_gives_its_slot_to_the_next(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    stage.show(busy((await make_upstream(held.answer)).url))
    gateway = await make_gateway(stage.load, stage.control)
    leaving = asyncio.create_task(ask(client, gateway))
    await until(lambda: held.arrived == 1)
    staying = asyncio.create_task(ask(client, gateway))

    leaving.cancel()
    await until(lambda: held.arrived == 2)
    held.let_go(2)

    assert await staying == (200, None)


async def test_a_request_too_many_is_refused_with_when_to_try_again(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    stage.show(busy((await make_upstream(held.answer)).url))
    stage.table = replace(stage.table, queue_limit=0)
    gateway = await make_gateway(stage.load, stage.control)
    asking = asyncio.create_task(ask(client, gateway))
    await until(lambda: held.arrived == 1)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        error = (await response.json())["error"]
    held.let_go()

    assert (response.status, response.headers["Retry-After"]) == (429, "5")
    assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
    assert await asking == (200, None)


async def test_a_server_that_is_busy_for_too_long_is_not_waited_for(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    stage.show(busy((await make_upstream(held.answer)).url), wait_s=0.1)
    gateway = await make_gateway(stage.load, stage.control)
    asking = asyncio.create_task(ask(client, gateway))
    await until(lambda: held.arrived == 1)

    assert await ask(client, gateway) == (503, "queue_timeout")
    held.let_go()
    assert await asking == (200, None)


async def test_a_request_whose_server_is_stopped_while_it_queues_goes_to_the_one_started_next(
    stage: Stage,
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    held = Held()
    stage.show(busy((await make_upstream(held.answer)).url))
    stage.starts((await make_upstream()).url, server_id=2)
    gateway = await make_gateway(stage.load, stage.control, refresh_seconds=0.05)
    first = asyncio.create_task(ask(client, gateway))
    await until(lambda: held.arrived == 1)
    second = asyncio.create_task(ask(client, gateway))

    stage.show(make_replica(ELSEWHERE, server_id=2, state="stopped", on_request=True))

    assert await second == (200, None)
    assert (stage.demanded, held.arrived) == ([2], 1)
    held.let_go()
    await first


@pytest.fixture
async def finder(stage: Stage) -> AsyncIterator[Finder]:
    """A finder whose only server has one slot."""
    stage.show(busy(ELSEWHERE))

    async def load() -> RoutingTable:
        return stage.table

    tables = LiveTable(load)
    await tables.refresh()
    one = Finder(tables, Usage(NO_CONTROL.note_use), NO_CONTROL)
    yield one
    await one.close()


def trace(key: str = "") -> Trace:
    return Trace("request", CHAT, key=key)


async def test_a_free_slot_is_found_without_waiting(finder: Finder) -> None:
    request = trace()

    finding = finder.search(Wish("qwen"), request).first()
    with pytest.raises(StopIteration):  # it returns without ever going to the event loop
        finding.send(None)

    assert request.queued_s == 0
    assert finder.usage.in_flight == {1: 1}


async def test_the_time_in_the_queue_is_noted(finder: Finder) -> None:
    await finder.search(Wish("qwen"), trace()).first()
    request = trace()
    waiting = asyncio.create_task(finder.search(Wish("qwen"), request).first())
    await asyncio.sleep(0.02)

    finder.usage.unclaim(1)
    await waiting

    assert 0.02 <= request.queued_s <= request.elapsed_s()


async def test_what_another_process_has_a_server_do_counts(
    finder: Finder, stage: Stage
) -> None:
    elsewhere = {1: 1}
    finder.in_flight = elsewhere
    search = finder.search(Wish("qwen"), trace())

    finding = asyncio.create_task(search.first())
    await until(lambda: finder.queue.depths == {"qwen": 1})
    state = search.state()
    elsewhere.clear()
    choice = await finding

    assert state == "queued, 0 before you"
    assert choice.replica.server_id == 1


async def test_nobody_overtakes_those_who_wait(finder: Finder) -> None:
    elsewhere = {1: 1}
    finder.in_flight = elsewhere
    waiting = asyncio.create_task(finder.search(Wish("qwen"), trace()).first())
    await until(lambda: finder.queue.depths == {"qwen": 1})

    elsewhere.clear()  # which nobody here has looked at yet
    finder.in_flight = finder.usage.in_flight
    late = asyncio.create_task(finder.search(Wish("qwen"), trace()).first())
    await waiting

    assert not late.done()
    assert finder.queue.depths == {"qwen": 1}


async def test_a_server_that_is_to_be_probed_is_left_to_those_who_wait(
    finder: Finder, stage: Stage
) -> None:
    clock = [0.0]
    finder.balancer = Balancer(Breakers(clock=lambda: clock[0]), queued=finder.queue.depth)
    stage.show(busy(ELSEWHERE), busy(ELSEWHERE, server_id=2))
    await finder.tables.refresh()
    for _ in range(FAILURES_IN_A_ROW):
        finder.balancer.failed(1)
    assert (await finder.search(Wish("qwen"), trace()).first()).replica.server_id == 2
    waiting = asyncio.create_task(finder.search(Wish("qwen"), trace()).first())
    await until(lambda: finder.queue.depths == {"qwen": 1})

    clock[0] = 1.0
    late = asyncio.create_task(finder.search(Wish("qwen"), trace()).first())
    choice = await asyncio.wait_for(waiting, PATIENCE_S)

    assert choice.replica.server_id == 1
    assert not late.done()
    late.cancel()


async def test_a_request_that_a_server_did_not_answer_is_not_refused_by_a_full_queue(
    finder: Finder, stage: Stage
) -> None:
    stage.show(busy(ELSEWHERE), busy(ELSEWHERE, server_id=2))
    stage.table = replace(stage.table, queue_limit=0, strategy="least_loaded")
    await finder.tables.refresh()
    search = finder.search(Wish("qwen"), trace())
    failed = (await search.first()).replica.server_id
    other = (await finder.search(Wish("qwen"), trace()).first()).replica.server_id
    finder.usage.unclaim(failed)

    failure = NotReachedError("qwen", "was not reached", was_sent=True)
    again = asyncio.create_task(search.another(failed, failure))
    await until(lambda: finder.queue.depths == {"qwen": 1})
    finder.usage.unclaim(other)

    assert (await again).replica.server_id == other


async def test_auto_that_has_queued_still_knows_which_tier_was_wanted(
    finder: Finder, stage: Stage
) -> None:
    stage.show_routes(make_route("qwen", busy(ELSEWHERE), tier="balanced"), wait_s=LONG_S)
    await finder.tables.refresh()
    await finder.search(Wish("qwen"), trace()).first()

    wish = Wish("auto", tier="powerful")
    waiting = asyncio.create_task(finder.search(wish, trace()).first())
    await until(lambda: finder.queue.depths == {"qwen": 1})
    finder.usage.unclaim(1)
    choice = await waiting

    assert (choice.wanted_tier, choice.why) == ("powerful", Why.NO_MODEL)
    assert choice.has_slot


@pytest.mark.parametrize("state", ["ready", "starting"])
async def test_who_waits_when_the_gateway_shuts_down_is_told_so(
    state: str, finder: Finder, stage: Stage
) -> None:
    await finder.search(Wish("qwen"), trace()).first()
    stage.show(busy(ELSEWHERE, state=state))
    await finder.tables.refresh()
    search = finder.search(Wish("qwen"), trace())
    waiting = asyncio.create_task(search.first())
    await until(lambda: search.state() != "waiting")

    await finder.close()

    with pytest.raises(ShuttingDownError):
        await waiting
    assert finder.usage.in_flight == {1: 1}
