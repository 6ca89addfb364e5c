"""Many clients at once, some of whom leave: nothing of them stays behind."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import aiohttp
from aiohttp import web

from servers_app.gateway.app import Gateway
from servers_app.gateway.asgi import Exchange
from servers_app.gateway.live import LoadTable
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.trace import Trace
from servers_app.gateway.waiting import Search
from tests.servers_app.gateway.conftest import (
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    serving_gateway,
    until,
)

REQUESTS = 5000
CLIENTS = 200
LEAVING = 0.05
SLOTS = 32
PATIENCE = aiohttp.ClientTimeout(total=120)


async def test_of_5000_requests_of_which_some_are_left_nothing_stays(
    make_upstream: MakeUpstream,
) -> None:
    working: Counter[str] = Counter()

    async def work(_request: web.Request) -> web.StreamResponse:
        working["now"] += 1
        try:
            working["most"] = max(working["most"], working["now"])
            await asyncio.sleep(0.002)
            return web.json_response({"choices": []})
        finally:
            working["now"] -= 1

    upstream = await make_upstream(work)
    replicas = (
        replace(make_replica(upstream.url, server_id=number), slots=SLOTS // 2)
        for number in (1, 2)
    )
    table = make_table(make_route("qwen", *replicas), queue_wait_seconds=120)
    gateway = Gateway(_always(replace(table, queue_limit=CLIENTS)))
    await gateway.startup()
    ended: Counter[object] = Counter()
    rng = random.Random(7)

    async with serving_gateway(gateway) as url:
        connector = aiohttp.TCPConnector(limit=CLIENTS)
        async with aiohttp.ClientSession(connector=connector, timeout=PATIENCE) as session:
            left = iter(range(REQUESTS))
            await asyncio.gather(
                *(_keep_asking(session, url, left, ended, rng) for _ in range(CLIENTS))
            )
            await until(lambda: not gateway.in_flight() and not working["now"])
        # Its last traces are written down within a second.
        await until(lambda: not _alive(Exchange, Search, Trace))
    await gateway.shutdown()

    assert ended[200] + ended["left"] == REQUESTS
    assert ended["left"] > REQUESTS * LEAVING / 2
    assert working["most"] <= SLOTS


async def _keep_asking(
    session: aiohttp.ClientSession,
    url: str,
    left: Iterator[int],
    ended: Counter[object],
    rng: random.Random,
) -> None:
    for _ in left:
        asking = asyncio.create_task(_ask(session, url))
        if rng.random() < LEAVING:
            await asyncio.sleep(rng.random() * 0.02)
            asking.cancel()
        try:
            ended[await asking] += 1
        except asyncio.CancelledError:
            ended["left"] += 1


async def _ask(session: aiohttp.ClientSession, url: str) -> int:
    body = {"model": "qwen", "messages": [{"role": "user", "content": "Hi"}]}
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        await response.read()
        return response.status


def _always(table: RoutingTable) -> LoadTable:
    async def load() -> RoutingTable:
        return table

    return load


def _alive(*kinds: type) -> int:
    gc.collect()
    # By its type: of a weak reference that leads nowhere, isinstance() cannot tell.
    return sum(issubclass(type(one), kinds) for one in gc.get_objects())
