import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from magi_site.exposure import is_open
from magi_site.metrics.endpoint import PATH, MetricsEndpoint
from magi_site.sessions import by_session
from servers_app.gateway import table as table_module
from servers_app.gateway.access import Rules
from servers_app.gateway.app import Gateway
from servers_app.gateway.table import load_table
from servers_app.gateway.writer import CONTROL
from servers_app.ratelimits import AsyncRateLimiter
from tests.magi_site.asgi_calls import Answer, call
from tests.redis_server import RedisServer

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what Prometheus would read: values by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scraped:
    """What an endpoint answers."""

    def __init__(self, endpoint: MetricsEndpoint) -> None:
        self._endpoint = endpoint

    async def answer(self, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self._endpoint, method, PATH, named)

    async def value(self, name: str, **labels: str) -> float | None:
        """Return one value, of a new scrape; None where there is none."""
        samples = samples_of((await self.answer()).body.decode())
        return samples.get((name, frozenset(labels.items())))

    async def names(self) -> set[str]:
        return {name for name, _labels in samples_of((await self.answer()).body.decode())}


@pytest.fixture
async def gateway(redis_server: RedisServer, settings: Settings) -> AsyncIterator[Gateway]:
    rules = Rules(is_open, by_session, partial(AsyncRateLimiter, settings.REDIS_URL))
    gateway = Gateway(load_table, CONTROL, rules=rules, refresh_seconds=3600)
    await gateway.startup()
    yield gateway
    await gateway.shutdown()
    await sync_to_async(connections.close_all)()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(table_module._reader, connections.close_all)


@pytest.fixture
async def endpoint(gateway: Gateway, tmp_path: Path) -> AsyncIterator[MetricsEndpoint]:
    endpoint = MetricsEndpoint(gateway, tmp_path / "metrics")
    endpoint.startup()
    yield endpoint
    await endpoint.shutdown()


@pytest.fixture
def scraped(endpoint: MetricsEndpoint) -> Scraped:
    return Scraped(endpoint)
