"""Web processes are restarted one after the other under load, and nobody's request fails."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from asgiref.sync import sync_to_async

from profiles_app.models import Profile
from tests.cluster.balancer import balancing
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.redis_server import RedisServer
from tests.servers_app.gateway.wire import CHUNKED, HELLO, Caller, serving
from tests.web_process import WebProcess, database_url

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 200
LONGEST_PAUSE_S = 1.0
STREAM = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/event-stream\r\n\r\n")
EVENTS = [b'data: {"n": %d}\n\n' % number for number in range(5)] + [b"data: [DONE]\n\n"]
# Longer than clients leave a connection idle, and than the balancer takes to notice.
DRAIN_S = 5


async def _converse(caller: Caller) -> None:
    """Answer as a llama-server does, streams in half a second."""
    while body := await caller.request():
        if b'"stream": true' not in body:
            await caller.say(HELLO)
            continue
        await caller.say(STREAM)
        for event in EVENTS:
            await caller.say(b"%x\r\n%s\r\n" % (len(event), event))
            await asyncio.sleep(0.1)
        await caller.say(b"0\r\n\r\n")


class Traffic:
    """Clients that each ask on one connection of their own for as long as it lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.outcomes: Counter[str] = Counter()
        self.is_over = False

    async def ask_on(self, number: int) -> None:
        chance = random.Random(number)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self.is_over:
                try:
                    outcome = await self._ask(session, is_stream=number % 2 == 0)
                except (aiohttp.ClientError, OSError) as error:
                    outcome = repr(error)
                self.outcomes[outcome] += 1
                await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_S))

    async def _ask(self, session: aiohttp.ClientSession, *, is_stream: bool) -> str:
        body = {"model": "qwen", "messages": [], "stream": is_stream}
        async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            text = await answer.read()
        whole = b"".join(EVENTS) if is_stream else b"hello"
        return "whole" if (answer.status, text) == (200, whole) else f"{answer.status} {text!r}"


@asynccontextmanager
async def _deployment(
    folder: Path, redis: RedisServer, **environment: str
) -> AsyncIterator[list[WebProcess]]:
    common = {"DATABASE_URL": database_url(), "REDIS_URL": redis.url, **environment}
    processes = [WebProcess(folder / name, common) for name in ("one", "two")]
    try:
        for process in processes:
            process.launch()
        for process in processes:
            await asyncio.to_thread(process.until_ready, 200)
        yield processes
    finally:
        for process in processes:
            process.kill()


async def test_both_are_restarted_under_load_and_no_request_fails(
    tmp_path: Path,
    redis_server: RedisServer,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> None:
    async with serving(_converse) as engine:

        def enable() -> Profile:
            port = int(engine.url.rpartition(":")[2])
            make_server(make_model("qwen"), wanted="running", state="ready", port=port)
            return make_profile("development", "qwen", is_active=True)

        await sync_to_async(enable)()
        drain = {"MAGI_DRAIN_SECONDS": str(DRAIN_S), "MAGI_SHUTDOWN_SECONDS": "60"}
        async with (
            _deployment(tmp_path, redis_server, **drain) as processes,
            balancing([process.port for process in processes]) as balancer,
        ):
            traffic = Traffic(f"http://127.0.0.1:{balancer.port}")
            asking = [asyncio.create_task(traffic.ask_on(n)) for n in range(CLIENTS)]
            exits = []
            for process in processes:
                await asyncio.sleep(1)
                process.terminate()
                exits.append(await asyncio.to_thread(process.wait))
                await asyncio.to_thread(process.start)
            await asyncio.sleep(1)
            traffic.is_over = True
            await asyncio.gather(*asking)

    assert traffic.outcomes.keys() == {"whole"}, traffic.outcomes
    assert exits == [0, 0]
