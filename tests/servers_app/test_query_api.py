"""POST /api/query, over a gateway that answers what it is told to."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from pytest_django import Settings

from servers_app.apikeys import new_key
from servers_app.gateway.breaker import BreakerState
from servers_app.gateway.current import Running, set_current
from servers_app.gateway.errors import GatewayError, ModelLoadingError
from servers_app.gateway.query import Event, Query
from tests.conftest import MakeModel

URL = "/api/query"
DONE = {"response": "4", "mode": "simple"}


@dataclass
class StandIn:
    """Answers at once, or fails before the end."""

    failure: GatewayError | None = None
    asked: list[Query] = field(default_factory=list)
    callers: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None
    is_closed: bool = False

    def breakers(self) -> dict[int, BreakerState]:
        return {}

    def in_flight(self) -> dict[int, int]:
        return {}

    async def refresh(self) -> None:
        pass

    async def query(
        self, query: Query, *, key: str = "", model_ids: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Event, None]:
        self.asked.append(query)
        self.callers.append((key, model_ids))
        self.loop = asyncio.get_running_loop()
        try:
            yield Event("delta", {"stage": 1, "text": "4"})
            if self.failure is not None:
                raise self.failure
            yield Event("done", dict(DONE))
        finally:
            self.is_closed = True


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own, as the web server's is beside a view's."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture
def gateway(loop: asyncio.AbstractEventLoop) -> Iterator[StandIn]:
    stand_in = StandIn()
    set_current(Running(stand_in, loop))
    yield stand_in
    set_current(None)


def post(client: Client, **body: Any) -> Any:
    return client.post(URL, body, content_type="application/json")


def test_a_question_is_answered_in_the_loop_of_the_gateway(
    client: Client, gateway: StandIn, loop: asyncio.AbstractEventLoop
) -> None:
    answer = post(client, query=" 2+2? ", mode="simple", max_tokens=5, preset="precise")

    assert (answer.status_code, answer.json()) == (200, DONE)
    assert gateway.asked == [Query(" 2+2? ", "simple", max_tokens=5, preset="precise")]
    assert gateway.loop is loop


async def test_a_stream_has_an_event_for_each_thing_that_happens(
    async_client: AsyncClient, gateway: StandIn
) -> None:
    answer = await async_client.post(
        URL, {"query": "2+2?", "stream": True}, content_type="application/json"
    )

    assert isinstance(answer, StreamingHttpResponse)
    assert answer["Content-Type"] == "text/event-stream"
    pieces = [bytes(piece) async for piece in answer]
    assert pieces == [
        b'event: delta\ndata: {"stage":1,"text":"4"}\n\n',
        b'event: done\ndata: {"response":"4","mode":"simple"}\n\n',
    ]


async def test_a_stream_that_fails_ends_with_an_error_event(
    async_client: AsyncClient, gateway: StandIn
) -> None:
    gateway.failure = ModelLoadingError("qwen")

    answer = await async_client.post(
        URL, {"query": "2+2?", "stream": True}, content_type="application/json"
    )

    assert isinstance(answer, StreamingHttpResponse)
    pieces = [bytes(piece) async for piece in answer]
    assert pieces[-1].startswith(b'event: error\ndata: {"detail":"The model')
    assert gateway.is_closed


def test_the_error_of_the_gateway_is_the_answer(client: Client, gateway: StandIn) -> None:
    gateway.failure = ModelLoadingError("qwen")

    answer = post(client, query="2+2?")

    assert answer.status_code == 503
    assert answer.json() == {"detail": "The model 'qwen' is loading. Try again in 2 seconds."}
    assert answer["Retry-After"] == "2"


def test_a_process_without_a_gateway_says_so(client: Client) -> None:
    answer = post(client, query="2+2?")

    assert answer.status_code == 503
    assert "No gateway runs in this process" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({}, "query: This field is required.", id="no question"),
        pytest.param({"query": ""}, "query: ", id="empty"),
        pytest.param({"query": "x", "mode": "best"}, "mode: ", id="no such mode"),
        pytest.param({"query": "x", "max_tokens": 0}, "max_tokens: ", id="no tokens"),
        pytest.param({"query": "x", "temperature": "hot"}, "temperature: ", id="no number"),
        pytest.param({"query": "x", "max_token": 5}, "did you mean max_tokens?", id="misspelt"),
    ],
)
def test_a_question_that_is_none_is_refused(
    client: Client, gateway: StandIn, body: dict[str, Any], said: str
) -> None:
    answer = post(client, **body)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert gateway.asked == []


@pytest.mark.parametrize("body", ["[]", '"text"', "null"])
def test_a_body_that_is_no_object_is_refused(
    client: Client, gateway: StandIn, body: str
) -> None:
    answer = client.post(URL, body, content_type="application/json")

    assert answer.status_code == 400


@pytest.mark.django_db
def test_a_stranger_may_not_ask(client: Client, gateway: StandIn, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"

    assert post(client, query="2+2?").status_code == 401
    assert gateway.asked == []


async def pieces_of(answer: Any) -> list[bytes]:
    return [bytes(piece) async for piece in answer]


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [True, False])
def test_a_key_asks_in_its_name_and_of_its_models(
    client: Client, gateway: StandIn, make_model: MakeModel, is_stream: bool
) -> None:
    make_model("a")
    key, secret = new_key("ci", model_ids=["a"])
    body = {"query": "2+2?", "stream": is_stream}

    answer = client.post(
        URL,
        body,
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )
    if is_stream:
        asyncio.run(pieces_of(answer))

    assert answer.status_code == 200
    assert gateway.callers == [(key.prefix, frozenset({"a"}))]


@pytest.mark.django_db
def test_who_asks_without_a_key_is_known_by_name_or_address(
    client: Client, admin_client: Client, gateway: StandIn
) -> None:
    post(client, query="2+2?")
    post(admin_client, query="2+2?")

    assert gateway.callers == [("127.0.0.1", frozenset()), ("user admin", frozenset())]
