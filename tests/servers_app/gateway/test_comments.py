"""What a client of a streamed request is told while it waits."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from servers_app.gateway import comments
from servers_app.gateway.asgi import Exchange
from servers_app.gateway.comments import as_event, commented, early, fail
from servers_app.gateway.queueing import QueueFullError
from tests.servers_app.gateway.conftest import LONG_S, until

CHAT = "/v1/chat/completions"


@dataclass
class Client:
    """Whoever is sent an answer."""

    heads: list[MutableMapping[str, Any]] = field(default_factory=list)
    body: bytes = b""
    is_ended: bool = False

    def exchange(self, path: str = CHAT) -> Exchange:
        scope = {"method": "POST", "path": path, "query_string": b"", "headers": []}
        return Exchange(scope, self.receive, self.send)

    async def receive(self) -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.heads.append(message)
        else:
            self.body += message["body"]
            self.is_ended = not message["more_body"]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(comments, "INTERVAL_S", 0.01)


def queued() -> str:
    return "queued, 3 before you"


@pytest.mark.usefixtures("_at_once")
async def test_a_long_wait_is_commented_on_in_an_answer_that_has_begun(client: Client) -> None:
    async with commented(early(client.exchange(), is_stream=True), queued):
        await until(lambda: client.body.count(b": queued, 3 before you\n\n") >= 3)

    (head,) = client.heads
    assert head["status"] == 200
    assert (b"content-type", b"text/event-stream") in head["headers"]


@pytest.mark.usefixtures("_at_once")
async def test_no_comment_comes_when_the_wait_is_over(client: Client) -> None:
    async with commented(early(client.exchange(), is_stream=True), queued):
        await until(lambda: bool(client.body))
    said = client.body
    await asyncio.sleep(0.05)

    assert client.body == said
    assert len(asyncio.all_tasks()) == 1


async def test_a_short_wait_is_not_commented_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comments, "FIRST_AFTER_S", LONG_S)

    async with commented(early(client.exchange(), is_stream=True), queued):
        await asyncio.sleep(0.01)

    assert client.heads == []


@pytest.mark.parametrize(
    ("path", "is_stream"),
    [
        pytest.param(CHAT, False, id="a request for one piece of JSON"),
        pytest.param("/v1/embeddings", True, id="a path that has no streams"),
    ],
)
@pytest.mark.usefixtures("_at_once")
async def test_what_is_no_stream_just_waits(path: str, is_stream: bool, client: Client) -> None:
    async with commented(early(client.exchange(path), is_stream=is_stream), queued):
        await asyncio.sleep(0.02)

    assert client.heads == []


@pytest.mark.usefixtures("_at_once")
async def test_a_comment_is_one_line_whatever_a_model_is_called(client: Client) -> None:
    async with commented(
        early(client.exchange(), is_stream=True), lambda: "loading x\n\ndata: {}"
    ):
        await until(lambda: bool(client.body))

    assert client.body.startswith(b": loading x data: {}\n\n")


@pytest.mark.usefixtures("_at_once")
async def test_the_comments_end_with_a_wait_that_is_cancelled(client: Client) -> None:
    async def wait() -> None:
        async with commented(early(client.exchange(), is_stream=True), queued):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await until(lambda: bool(client.body))

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert len(asyncio.all_tasks()) == 1


async def test_an_error_is_a_status_as_long_as_nothing_was_sent(client: Client) -> None:
    await fail(client.exchange(), QueueFullError("qwen", 64, 30))

    (head,) = client.heads
    assert head["status"] == 429
    assert (b"retry-after", b"30") in head["headers"]


@pytest.mark.usefixtures("_at_once")
async def test_an_error_is_an_event_once_the_answer_has_begun(client: Client) -> None:
    exchange = client.exchange()
    async with commented(early(exchange, is_stream=True), queued):
        await until(lambda: bool(client.body))

    await fail(exchange, QueueFullError("qwen", 64, 30))

    *_, event, rest = client.body.split(b"\n\n")
    assert event.startswith(b'data: {"error": {')
    assert b'"code": "queue_full"' in event
    assert (rest, len(client.heads), client.is_ended) == (b"", 1, True)


@pytest.mark.parametrize(
    ("path", "event"),
    [
        (CHAT, b'data: {"error":\ndata: {}}\n\n'),
        ("/v1/messages", b'event: error\ndata: {"error":\ndata: {}}\n\n'),
    ],
)
def test_a_refusal_by_llama_server_is_one_event(path: str, event: bytes) -> None:
    assert as_event(b'{"error":\n{}}', path) == event
