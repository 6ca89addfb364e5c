"""GET /metrics: to whom, in which format, and what it says while parts are away."""

import socket
import threading

import pytest
from asgiref.sync import sync_to_async
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from pytest_django import Settings
from redis import Redis

from magi_site.asgi import application
from magi_site.metrics.endpoint import PATH
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key
from servers_app.gateway.app import Gateway
from servers_app.gateway.trace import Trace
from servers_app.models import Node
from tests.magi_site.asgi_calls import call
from tests.magi_site.metrics.conftest import Scraped
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def test_it_is_texts_of_prometheus(scraped: Scraped) -> None:
    answer = await scraped.answer()

    assert answer.status == 200
    assert (answer.header(b"content-type") or b"").startswith(b"text/plain; version=0.0.4")
    assert answer.header(b"cache-control") == b"no-store"
    assert await scraped.value("magi_database_up") == 1
    assert await scraped.value("magi_redis_up") == 1


async def test_it_is_openmetrics_for_who_asks_for_that(scraped: Scraped) -> None:
    answer = await scraped.answer(accept=OPENMETRICS)

    assert (answer.header(b"content-type") or b"").startswith(b"application/openmetrics-text")
    told = openmetrics_families(answer.body.decode())  # type: ignore[no-untyped-call]  # theirs
    names = {family.name for family in told}
    assert {"magi_requests", "magi_build_info", "magi_redis_up"} <= names


async def test_nothing_but_get_is_answered(scraped: Scraped) -> None:
    answer = await scraped.answer("POST")

    assert (answer.status, answer.header(b"allow")) == (405, b"GET")


async def test_where_the_api_is_closed_a_key_with_the_scope_read_is_wanted(
    gateway: Gateway, scraped: Scraped, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"
    reads = await sync_to_async(new_key)("prometheus", scopes=[Scope.READ])
    asks = await sync_to_async(new_key)("a client", scopes=[Scope.INFER])
    await gateway.refresh()

    answers = [
        await scraped.answer(),
        await scraped.answer(authorization="Bearer magi_not-a-key"),
        await scraped.answer(authorization=f"Bearer {asks.secret}"),
        await scraped.answer(authorization=f"Bearer {reads.secret}"),
    ]

    assert [answer.status for answer in answers] == [401, 401, 403, 200]
    assert b"scope" in answers[2].body
    assert all(answer.body.startswith(b'{"detail"') for answer in answers[:3])


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "rebound.example"}, 400), ({"origin": "https://elsewhere.example"}, 403)],
    ids=["by a foreign name", "by a page of another site"],
)
async def test_it_is_guarded_as_all_else_is(headers: dict[str, str], status: int) -> None:
    answer = await call(application, "GET", PATH, headers)

    assert answer.status == status


async def test_while_the_database_hangs_it_says_so_and_what_the_process_knows(
    gateway: Gateway, scraped: Scraped, silent_database: socket.socket
) -> None:
    gateway.metrics.done(Trace("request-1", "/v1/chat/completions", model_id="qwen"))

    assert await scraped.value("magi_database_up") == 0
    labels = {"model": "qwen", "tier": "(none)", "outcome": "failed"}
    assert await scraped.value("magi_requests_total", **labels) == 1
    assert await scraped.value("magi_models", **{"is": "registered"}) is None
    looking = [t for t in threading.enumerate() if t.name == "look-metrics-database"]
    assert len(looking) == 1  # however often it was asked


async def test_while_redis_hangs_it_says_so_and_what_the_database_knows(
    scraped: Scraped, redis_server: RedisServer
) -> None:
    with redis_server.hanging():
        assert await scraped.value("magi_redis_up") == 0
        assert await scraped.value("magi_models", **{"is": "registered"}) == 0


async def test_without_redis_it_says_so(scraped: Scraped, redis_server: RedisServer) -> None:
    redis_server.kill()

    assert await scraped.value("magi_redis_up") == 0
    assert await scraped.value("magi_database_up") == 1


async def test_the_queues_of_nodes_are_counted(
    scraped: Scraped, redis_server: RedisServer
) -> None:
    await Node.objects.acreate(name="far")
    await scraped.answer()  # from now on it knows the nodes
    with Redis.from_url(redis_server.url) as redis:
        redis.rpush("node.far", "a task", "another")

    assert await scraped.value("magi_tasks_queued", queue="node.far") == 2
    assert await scraped.value("magi_tasks_queued", queue="node.local") == 0


async def test_a_folder_that_cannot_be_written_costs_the_others_counts_alone(
    gateway: Gateway, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magi_site.metrics.shared._write", full)
    gateway.metrics.done(Trace("request-1", "/v1/chat/completions", model_id="qwen"))

    labels = {"model": "qwen", "tier": "(none)", "outcome": "failed"}
    assert await scraped.value("magi_requests_total", **labels) == 1
