"""Two web processes on one database and one Redis answer as one does."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.conf import global_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from profiles_app.services import make_active
from servers_app import apikeys
from servers_app.gateway.breaker import FAILURES_IN_A_ROW
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.servers_app.gateway.wire import HELLO, Caller, always, serving
from tests.web_process import PATIENCE_S, WebProcess, database_url

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
PASSWORD = "a password of the test's"


class Site:
    """Two web processes, and somebody who asks them."""

    def __init__(self, processes: list[WebProcess], client: aiohttp.ClientSession) -> None:
        self.processes = processes
        self._client = client

    async def ask(self, process: WebProcess, model: str = "qwen", key: str = "") -> Any:
        """Return the status, and the code of an error."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url, body = f"{process.url}/v1/chat/completions", {"model": model, "messages": []}
        async with self._client.post(url, json=body, headers=headers) as answer:
            if answer.status == 200:
                return 200, (await answer.read()).decode()
            return answer.status, (await answer.json())["error"]["code"]

    async def until(self, process: WebProcess, expected: object, **request: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (said := await self.ask(process, **request)) != expected:
                assert said[0] in (200, 401, 404, 502, 503), said
                await asyncio.sleep(0.05)


@asynccontextmanager
async def two(folder: Path, redis: RedisServer) -> AsyncIterator[Site]:
    common = {"DATABASE_URL": database_url(), "REDIS_URL": redis.url}
    processes = [WebProcess(folder / name, common) for name in ("one", "two")]
    try:
        for process in processes:
            process.launch()
        for process in processes:
            await asyncio.to_thread(process.until_ready, 200)
        async with aiohttp.ClientSession() as client:
            yield Site(processes, client)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


@pytest.fixture
def enable(
    make_model: MakeModel, make_profile: MakeProfile, make_server: MakeServer
) -> Callable[..., Any]:
    """Return a coroutine that makes a ready server of a model, in the active profile."""

    def make(url: str, **fields: object) -> None:
        port = int(url.rpartition(":")[2])
        values = {"wanted": "running", "state": "ready", "port": port, **fields}
        make_server(make_model("qwen"), **values)
        make_profile("development", "qwen", is_active=True, queue_wait_seconds=0)

    return sync_to_async(make)


async def test_requests_count_in_both_and_no_server_gets_more_than_it_has_slots(
    tmp_path: Path, redis_server: RedisServer, enable: Callable[..., Any]
) -> None:
    has_come, go_on = asyncio.Event(), asyncio.Event()

    async def work(caller: Caller) -> None:
        while await caller.request():
            has_come.set()
            await go_on.wait()
            await caller.say(HELLO)

    async with serving(work) as engine:
        await enable(engine.url, facts={"total_slots": 1})
        async with two(tmp_path, redis_server) as site:
            one, other = site.processes
            asking = asyncio.create_task(site.ask(one))
            await has_come.wait()
            await asyncio.sleep(1)  # within which they are to agree

            assert await site.ask(other) == (503, "queue_timeout")

            go_on.set()
            assert (await asking)[0] == 200
            await site.until(other, (200, "hello"))


async def test_a_breaker_that_one_has_open_is_open_at_the_other(
    tmp_path: Path, redis_server: RedisServer, enable: Callable[..., Any]
) -> None:
    await enable(f"http://127.0.0.1:{free_port()}")
    async with two(tmp_path, redis_server) as site:
        one, other = site.processes
        for _ in range(FAILURES_IN_A_ROW):
            assert (await site.ask(one))[0] == 502
        await asyncio.sleep(0.4)  # less than the second for which it is open

        assert await site.ask(other) == (503, "circuit_open")


async def test_keys_and_their_limits_hold_over_both_and_so_does_a_revocation(
    tmp_path: Path, redis_server: RedisServer, enable: Callable[..., Any]
) -> None:
    _, limited = await sync_to_async(apikeys.new_key)("limited", rate_limit_per_minute=4)
    key, secret = await sync_to_async(apikeys.new_key)("to be revoked")
    async with serving(always(HELLO)) as engine:
        await enable(engine.url)
        async with two(tmp_path, redis_server) as site:
            one, other = site.processes
            calls = [(await site.ask(p, key=limited))[0] for p in (one, other) * 3]
            before = [(await site.ask(p, key=secret))[0] for p in (one, other)]

            await sync_to_async(apikeys.revoke)(key)
            await asyncio.sleep(1)

            after = [(await site.ask(p, key=secret))[0] for p in (one, other)]

    assert calls == [200] * 4 + [429] * 2
    assert (before, after) == ([200, 200], [401, 401])


async def test_a_profile_that_is_activated_routes_at_both_with_and_without_redis(
    tmp_path: Path,
    redis_server: RedisServer,
    enable: Callable[..., Any],
    make_profile: MakeProfile,
) -> None:
    async with serving(always(HELLO)) as engine:
        await enable(engine.url)
        alias = await sync_to_async(make_profile)("other")
        await sync_to_async(alias.members.create)(model_id="qwen", aliases=["mine"])
        async with two(tmp_path, redis_server) as site:
            for process in site.processes:
                assert (await site.ask(process, model="mine"))[0] == 404

            await sync_to_async(make_active)(alias)
            for process in site.processes:
                await site.until(process, (200, "hello"), model="mine")

            redis_server.kill()
            await sync_to_async(alias.members.update)(aliases=["ours"])
            for process in site.processes:
                await site.until(process, (200, "hello"), model="ours")


async def test_a_session_and_its_forms_hold_at_both(
    tmp_path: Path, redis_server: RedisServer, settings: Settings
) -> None:
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS  # those of the processes
    await sync_to_async(User.objects.create_superuser)("ada", password=PASSWORD)
    async with two(tmp_path, redis_server) as site, httpx2.AsyncClient(timeout=60) as browser:
        one, other = (process.url for process in site.processes)
        page = await browser.get(f"{one}/admin/login/")
        form = {
            "username": "ada",
            "password": PASSWORD,
            "csrfmiddlewaretoken": _token(page.text),
        }
        signed_in = await browser.post(f"{other}/admin/login/", data=form)
        assert signed_in.status_code == 302

        for url in (one, other):
            page = await browser.get(f"{url}/admin/password_change/")
            assert page.status_code == 200
        change = {
            "old_password": PASSWORD, "new_password1": PASSWORD * 2,
            "new_password2": PASSWORD * 2, "csrfmiddlewaretoken": _token(page.text),
        }  # fmt: skip
        changed = await browser.post(f"{one}/admin/password_change/", data=change)

        assert changed.status_code == 302
        assert (await browser.get(f"{other}/admin/")).status_code == 200


def _token(page: str) -> str:
    found = TOKEN.search(page)
    assert found
    return found[1]
