"""POST /api/admin/test/endpoints: every endpoint is really called, with the caller's rights."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.urls import path
from pytest_django import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from magi_site import urls
from magi_site.events import EventStream
from magi_site.operations.inner_calls import Caller, call
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key
from servers_app.gateway.app import Gateway
from servers_app.gateway.current import Running, set_current
from servers_app.gateway.table import load_table
from servers_app.gateway.writer import CONTROL
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/admin/test/endpoints"
PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@pytest.fixture
async def application(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """MAGI's own ASGI application, with a gateway that runs in the loop of the test."""
    from magi_site import asgi  # noqa: PLC0415 - reads settings

    gateway = Gateway(load_table, CONTROL)
    monkeypatch.setattr(asgi, "gateway", gateway)
    monkeypatch.setattr(asgi, "event_stream", stream)
    await gateway.startup()
    set_current(Running(gateway, asyncio.get_running_loop()))
    yield asgi.application
    set_current(None)
    await gateway.shutdown()


async def what_was_seen(application: Any, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Have the endpoints tested; return the answer, its tests by what was called."""
    caller = Caller(((b"host", b"localhost"), *headers), ("127.0.0.1", 1), ("127.0.0.1", 2))
    answer = await call(application, caller, "POST", URL, timeout_s=PATIENCE_S)
    assert answer.status == 200, answer
    body: dict[str, Any] = json.loads(answer.body)
    return {**body, "tests": {f"{t['method']} {t['endpoint']}": t for t in body["tests"]}}


def bearer(secret: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {secret}".encode()


async def test_every_endpoint_is_called_and_says_what_it_is(
    application: Any, make_model: MakeModel
) -> None:
    await sync_to_async(make_model)("here")

    body = await what_was_seen(application)

    tests = body["tests"]
    registry = tests["GET /api/models/registry"]
    assert (registry["name"], registry["status"], registry["status_code"]) == (
        "registry",
        "passed",
        200,
    )
    assert registry["detail"].startswith("JSON with models, scan_path")
    assert registry["time_ms"] > 0
    assert tests["GET /api/events"]["detail"].startswith("A stream, which begins with")
    assert tests["GET /api/models/profile"]["status_code"] == 404  # none is active: it says so
    assert tests["GET /api/models/profile"]["status"] == "passed"
    for called in (
        "GET /api/models/here",
        "GET /api/models/servers/here/logs",
        "GET /api/schema/",
        "GET /health",
        "GET /v1/models",
        "OPTIONS /api/models/rescan",
        f"OPTIONS {URL}",
    ):
        assert called in tests


async def test_the_sums_are_those_of_the_tests(application: Any) -> None:
    body = await what_was_seen(application)

    statuses = [test["status"] for test in body["tests"].values()]
    assert body["total"] == len(statuses)
    for status in ("passed", "failed", "refused"):
        assert body[status] == statuses.count(status)
    # No worker is here, and Celery's Redis only where REDIS_URL names one.
    failed = {test["name"] for test in body["tests"].values() if test["status"] == "failed"}
    assert failed - {"task"} == {"health-detailed"}


async def test_it_calls_nothing_that_changes_anything_and_never_itself(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, str]] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        called.append((scope["method"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    outer = application
    monkeypatch.setattr("magi_site.asgi.application", note)

    await what_was_seen(outer)

    assert {method for method, _ in called} == {"GET", "OPTIONS"}
    assert [method for method, path in called if path == URL] == ["OPTIONS"]


async def test_an_endpoint_that_is_added_is_called_and_one_that_breaks_is_told(
    application: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(APIView):
        def get(self, request: Request, number: int) -> Response:
            msg = "the secret is hunter2"
            raise ValueError(msg)

    more = ModuleType("more_urls")
    added = path("api/broken/<int:number>", Broken.as_view(), name="broken")
    more.urlpatterns = [*urls.urlpatterns, added]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "more_urls", more)
    settings.ROOT_URLCONF = "more_urls"

    body = await what_was_seen(application)

    test = body["tests"]["GET /api/broken/0"]
    assert (test["name"], test["status"], test["status_code"]) == ("broken", "failed", 500)
    assert "hunter2" not in json.dumps(body)


async def test_a_call_may_what_its_caller_may(application: Any, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"
    key = await sync_to_async(new_key)("ci", scopes=[Scope.MANAGE], rate_limit_per_minute=1000)

    body = await what_was_seen(application, bearer(key.secret))

    refused = [name for name, test in body["tests"].items() if test["status"] == "refused"]
    assert body["tests"]["GET /api/models/registry"]["status"] == "passed"
    assert refused == ["OPTIONS /api/query"]  # for which it would need the scope infer


async def test_what_its_caller_may_not_is_refused_and_not_failed(
    application: Any, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"
    key = await sync_to_async(new_key)("ci", scopes=[Scope.MANAGE], rate_limit_per_minute=2)

    body = await what_was_seen(application, bearer(key.secret))

    refused = [test for test in body["tests"].values() if test["status"] == "refused"]
    assert body["refused"] == len(refused) > 0
    assert 429 in {test["status_code"] for test in refused}
    assert "registry" in {test["name"] for test in refused}


async def test_without_a_web_server_around_it_it_says_so() -> None:
    response = await sync_to_async(Client().post)(URL)

    assert response.status_code == 503
    assert "Ask the web server of MAGI" in response.json()["detail"]
