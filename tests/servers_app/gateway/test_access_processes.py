"""Keys as the database has them, in two gateway processes over one Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from models_app.events import channel
from servers_app import apikeys
from servers_app.apikey_models import ApiKey
from servers_app.gateway import table as table_module
from servers_app.gateway.access import Rules
from servers_app.gateway.app import Gateway
from servers_app.gateway.peers import open_channels
from servers_app.gateway.table import load_table, read_table
from servers_app.gateway.writer import CONTROL
from servers_app.ratelimits import AsyncRateLimiter
from tests.redis_server import RedisServer
from tests.servers_app.gateway.conftest import PATIENCE_S, serving_gateway

pytestmark = pytest.mark.django_db(transaction=True)

NEVER_S = 3600.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.gateway.peers.HINT_PAUSE_S", 0.01)
    monkeypatch.setattr("servers_app.gateway.access.WRITE_INTERVAL_S", 0.01)


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    for close in (sync_to_async(connections.close_all), _close_reader):
        await close()


async def _close_reader() -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(table_module._reader, connections.close_all)


async def two_gateways(
    settings: Settings, stack: AsyncExitStack, *, refresh_seconds: float
) -> list[str]:
    rules = Rules(lambda: False, open_limiter=partial(AsyncRateLimiter, settings.REDIS_URL))
    urls = []
    for _ in range(2):
        gateway = Gateway(
            load_table,
            CONTROL,
            rules=rules,
            channels=partial(open_channels, settings.REDIS_URL, channel(settings.REDIS_URL)),
            refresh_seconds=refresh_seconds,
        )
        await gateway.startup()
        stack.push_async_callback(gateway.shutdown)
        urls.append(await stack.enter_async_context(serving_gateway(gateway)))
    return urls


async def status_at(client: aiohttp.ClientSession, url: str, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    async with client.get(f"{url}/v1/models", headers=headers) as response:
        return response.status


async def until_all(
    client: aiohttp.ClientSession, urls: list[str], secret: str, status: int
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if {await status_at(client, url, secret) for url in urls} == {status}:
                return
            await asyncio.sleep(0.01)


async def test_a_key_is_known_and_revoked_at_once_in_every_process(
    redis_server: RedisServer,
    settings: Settings,
    stack: AsyncExitStack,
    client: aiohttp.ClientSession,
) -> None:
    """Their tables are not read again by themselves: only what is told makes them."""
    urls = await two_gateways(settings, stack, refresh_seconds=NEVER_S)

    key, secret = await sync_to_async(apikeys.new_key)("ci")
    await until_all(client, urls, secret, 200)
    await sync_to_async(apikeys.revoke)(key)
    await until_all(client, urls, secret, 401)


async def test_without_redis_the_next_reading_of_the_table_does(
    redis_server: RedisServer,
    settings: Settings,
    stack: AsyncExitStack,
    client: aiohttp.ClientSession,
) -> None:
    redis_server.kill()
    urls = await two_gateways(settings, stack, refresh_seconds=0.05)

    key, secret = await sync_to_async(apikeys.new_key)("ci")
    await until_all(client, urls, secret, 200)
    await sync_to_async(apikeys.revoke)(key)
    await until_all(client, urls, secret, 401)


async def test_a_rate_limit_counts_over_all_processes(
    redis_server: RedisServer,
    settings: Settings,
    stack: AsyncExitStack,
    client: aiohttp.ClientSession,
) -> None:
    _, secret = await sync_to_async(apikeys.new_key)("ci", rate_limit_per_minute=4)
    urls = await two_gateways(settings, stack, refresh_seconds=NEVER_S)

    statuses = [await status_at(client, url, secret) for url in urls * 3]

    assert statuses == [200, 200, 200, 200, 429, 429]


async def test_when_a_key_was_used_is_written_down_beside_the_requests(
    redis_server: RedisServer,
    settings: Settings,
    stack: AsyncExitStack,
    client: aiohttp.ClientSession,
) -> None:
    key, secret = await sync_to_async(apikeys.new_key)("ci")
    urls = await two_gateways(settings, stack, refresh_seconds=NEVER_S)

    assert await status_at(client, urls[0], secret) == 200

    async with asyncio.timeout(PATIENCE_S):
        while key.last_used_at is None:
            await key.arefresh_from_db()


async def test_all_that_a_key_is_limited_by_is_in_the_table() -> None:
    key, secret = await sync_to_async(apikeys.new_key)("ci", rate_limit_per_minute=4)
    gone, _ = await sync_to_async(apikeys.new_key)("gone")
    await sync_to_async(apikeys.revoke)(gone)
    await ApiKey.objects.filter(pk=key.pk).aupdate(model_ids=["a", "b"], may_read=True)

    keys = (await sync_to_async(read_table)()).keys

    (known,) = keys.values()
    assert list(keys) == [apikeys.hash_of(secret)]
    assert (known.id, known.name) == (key.prefix, "ci")
    assert known.scopes == {"read", "infer"}
    assert known.model_ids == {"a", "b"}
    assert known.rate_limit_per_minute == 4
    assert secret.removeprefix(key.prefix) not in repr(keys)
