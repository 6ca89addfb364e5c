"""Whoever leaves POST /api/query frees what works on the answer."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from django.core.asgi import get_asgi_application

from magi_site.bodies import with_bounded_body
from servers_app.gateway.breaker import BreakerState
from servers_app.gateway.current import Running, set_current
from servers_app.gateway.query import Event, Query


class Endless:
    """A gateway whose answer never comes."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    def breakers(self) -> dict[int, BreakerState]:
        return {}

    async def query(self, query: Query, **_of: object) -> AsyncGenerator[Event, None]:
        self.began.set()
        try:
            await asyncio.Event().wait()
            yield Event("done", {})
        finally:
            self.ended.set()


@pytest.fixture
async def gateway() -> Any:
    made = Endless()
    set_current(Running(cast("Any", made), asyncio.get_running_loop()))
    yield made
    set_current(None)


@pytest.fixture
def scope() -> dict[str, Any]:
    return {
        "type": "http", "method": "POST", "path": "/api/query", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("localhost", 8000), "http_version": "1.1",
        "scheme": "http", "asgi": {"version": "3.0"},
    }  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_leaves_ends_the_answer(
    scope: dict[str, Any], gateway: Endless, *, is_stream: bool
) -> None:
    body = json.dumps({"query": "2+2?", "stream": is_stream}).encode()
    scope["headers"].append((b"content-length", str(len(body)).encode()))
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gateway.began.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        pass

    async with asyncio.timeout(30):
        await with_bounded_body(cast("Any", get_asgi_application()), scope, receive, send)
        await gateway.ended.wait()
