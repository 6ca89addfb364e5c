"""What may look on or change an answer on its way, and what is noted of the request."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from servers_app.gateway.asgi import Exchange
from servers_app.gateway.bodies import read_model
from servers_app.gateway.control import NO_CONTROL
from servers_app.gateway.errors import NotReachedError, UpstreamError
from servers_app.gateway.filters import Filter, MakeFilter, Tap
from servers_app.gateway.http1 import Timeouts
from servers_app.gateway.live import LiveTable
from servers_app.gateway.relay import Answer, Relay
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Finder, Search
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import make_replica, make_route, make_table, refused_url
from tests.servers_app.gateway.wire import HELLO, OK, Caller, once, serving

CHAT = "/v1/chat/completions"
BODY = b'{"model": "qwen"}'
NOTHING = b"\r\nContent-Length: 0\r\n\r\n"
EVENTS = OK + b"Content-Type: text/event-stream; charset=utf-8\r\n\r\n"


@dataclass
class Bench:
    """A relay to one server, and the client's side of a request."""

    url: str
    told: list[tuple[str, int]] = field(default_factory=list)
    sent: list[MutableMapping[str, Any]] = field(default_factory=list)
    trace: Trace = field(default_factory=lambda: Trace("r1", CHAT))

    def __post_init__(self) -> None:
        table = make_table(make_route("qwen", make_replica(self.url)))

        async def load() -> RoutingTable:
            return table

        self.tables = LiveTable(load)
        self.usage = Usage(NO_CONTROL.note_use)
        self.finder = Finder(self.tables, self.usage, NO_CONTROL)

        def tell(what: str) -> Callable[[int], None]:
            return lambda server_id: self.told.append((what, server_id))

        self.relay = Relay(
            self.usage,
            tell("lost"),
            won=tell("won"),
            failed=tell("failed"),
            timeouts=Timeouts(first_byte_s=0.2, idle_s=0.2),
        )

    def search(self) -> Search:
        return self.finder.search(Wish("qwen"), self.trace)

    async def ask(
        self,
        path: str = CHAT,
        *,
        make_filter: MakeFilter | None = None,
        tap: Tap | None = None,
        is_gone: bool = False,
    ) -> None:
        async def receive() -> dict[str, Any]:
            if not is_gone:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            self.sent.append(message)

        scope = {"method": "POST", "path": path, "query_string": b"", "headers": []}
        exchange = Exchange(scope, receive, send)
        await self.relay.relay(
            exchange,
            BODY,
            read_model(BODY),
            self.search(),
            self.trace,
            make_filter=make_filter,
            tap=tap,
        )

    def opened(self) -> AbstractAsyncContextManager[Answer]:
        return self.relay.opened(CHAT, BODY, read_model(BODY), self.search(), self.trace)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def is_whole(self) -> bool:
        return self.sent[-1].get("more_body") is False


MakeBench = Callable[[str], Awaitable[Bench]]


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    async def make(url: str) -> Bench:
        bench = Bench(url)
        await bench.tables.refresh()
        made.append(bench)
        return bench

    yield make
    for bench in made:
        await bench.finder.close()
        await bench.tables.close()
        await bench.relay.close()


class _Loud:
    """Keeps the last piece back until the end, and adds a comment to it."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        out, self._held = self._held, piece.upper()
        return out

    def finish(self) -> bytes:
        return self._held + b": !\n\n"


def loud(_content_type: str) -> Filter:
    return _Loud()


async def test_a_filter_changes_an_answer_and_its_length(make_bench: MakeBench) -> None:
    async with serving(once(HELLO)) as server:
        bench = await make_bench(server.url)
        await bench.ask(make_filter=loud)

    assert (bench.body, bench.is_whole) == (b"HELLO: !\n\n", True)
    assert bench.headers[b"content-length"] == b"10"


async def test_a_filter_is_chosen_by_content_type(make_bench: MakeBench) -> None:
    asked: list[str] = []

    def none_for(content_type: str) -> None:
        asked.append(content_type)

    answer = OK + b"Content-Type: Application/JSON; a=b\r\nContent-Length: 2\r\n\r\n{}"
    async with serving(once(answer)) as server:
        bench = await make_bench(server.url)
        await bench.ask(make_filter=none_for)

    assert (bench.body, bench.headers[b"content-length"]) == (b"{}", b"2")
    assert asked == ["application/json"]


async def test_an_encoded_answer_is_not_filtered(make_bench: MakeBench) -> None:
    answer = OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nzz"
    async with serving(once(answer)) as server:
        bench = await make_bench(server.url)
        await bench.ask(make_filter=loud)

    assert bench.body == b"zz"


async def test_what_a_filter_held_comes_before_the_error_event(make_bench: MakeBench) -> None:
    broken = OK + b"Content-Type: text/event-stream\r\nContent-Length: 99\r\n\r\n: a\n\n"
    async with serving(once(broken)) as server:
        bench = await make_bench(server.url)
        await bench.ask(make_filter=loud)

    assert bench.body.startswith(b': A\n\n: !\n\ndata: {"error"')


async def test_a_tap_sees_what_the_server_sent(make_bench: MakeBench) -> None:
    seen: list[bytes] = []
    async with serving(once(HELLO)) as server:
        bench = await make_bench(server.url)
        await bench.ask(make_filter=loud, tap=seen.append)

    assert b"".join(seen) == b"hello"


async def test_the_headers_tell_what_was_chosen(make_bench: MakeBench) -> None:
    async with serving(once(HELLO)) as server:
        bench = await make_bench(server.url)
        bench.trace.score = 6.25
        await bench.ask()

    assert bench.headers[b"x-magi-model"] == b"qwen"
    assert bench.headers[b"x-magi-tier"] == b"fast"
    assert bench.headers[b"x-magi-score"] == b"6.2"


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        pytest.param(HELLO, Outcome.OK, ["won"], id="answered"),
        pytest.param(b"HTTP/1.1 400 Bad" + NOTHING, Outcome.REFUSED, ["won"], id="400"),
        pytest.param(
            b"HTTP/1.1 500 Oh" + NOTHING,
            Outcome.FAILED,
            ["failed"],
            id="500",
        ),
        pytest.param(b"HTTP/1.1 501 No" + NOTHING, Outcome.FAILED, ["won"], id="501"),
        pytest.param(
            b"HTTP/1.1 503 No" + NOTHING,
            Outcome.FAILED,
            ["failed"],
            id="503",
        ),
        pytest.param(
            b'HTTP/1.1 503 No\r\nContent-Length: 27\r\n\r\n{"message":"Loading model"}',
            Outcome.FAILED,
            ["won"],
            id="503 while it loads",
        ),
        pytest.param(
            OK + b"Content-Length: 9\r\n\r\nhello",
            Outcome.BROKEN,
            ["won", "lost", "failed"],
            id="broken",
        ),
    ],
)
async def test_how_an_answer_ended_is_noted_and_told(
    answer: bytes, outcome: Outcome, told: list[str], make_bench: MakeBench
) -> None:
    async with serving(once(answer)) as server:
        bench = await make_bench(server.url)
        await bench.ask()

    trace = bench.trace
    assert trace.outcome is outcome
    assert (trace.model_id, trace.server_id, trace.tier) == ("qwen", 1, "fast")
    assert trace.status == bench.sent[0]["status"]
    assert trace.first_byte_s is not None
    assert bench.told == [(what, 1) for what in told]
    assert bench.is_whole is (outcome is not Outcome.BROKEN)
    assert not bench.usage.in_flight


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        pytest.param(b"", 502, ["failed", "lost"], id="closed"),
        pytest.param(b"220 smtp.example\r\n\r\n", 502, ["failed"], id="another protocol"),
        pytest.param(
            b"HTTP/1.1 401 No" + NOTHING,
            502,
            ["failed"],
            id="our key refused",
        ),
    ],
)
async def test_a_request_without_an_answer_has_failed(
    answer: bytes, status: int, told: list[str], make_bench: MakeBench
) -> None:
    async with serving(once(answer)) as server:
        bench = await make_bench(server.url)
        with pytest.raises(UpstreamError):
            await bench.ask()

    assert (bench.trace.outcome, bench.trace.status) == (Outcome.FAILED, status)
    assert bench.trace.error_code == "upstream_error"
    assert bench.told == [(what, 1) for what in told]


async def test_a_server_that_takes_no_connection_is_lost_and_has_failed(
    make_bench: MakeBench,
) -> None:
    bench = await make_bench(refused_url())

    with pytest.raises(NotReachedError) as caught:
        await bench.ask()

    assert not caught.value.was_sent
    assert set(bench.told) == {("failed", 1), ("lost", 1)}


async def test_a_client_that_left_speaks_for_no_server_and_against_none(
    make_bench: MakeBench,
) -> None:
    async def listen(caller: Caller) -> None:
        await caller.request()
        await caller.request()

    async with serving(listen) as server:
        bench = await make_bench(server.url)
        with pytest.raises(Exception, match="The client left"):
            await bench.ask(is_gone=True)

    assert bench.trace.outcome is Outcome.CLIENT_GONE
    assert (bench.told, bench.sent) == ([], [])


@pytest.mark.parametrize(
    ("path", "last", "event"),
    [
        pytest.param(CHAT, b"data: 1\n\n", b"data: ", id="chat"),
        pytest.param("/v1/messages", b"data: 1\n\n", b"event: error\ndata: ", id="messages"),
        pytest.param(
            "/v1/responses",
            b'data: {"sequence_number":7}\n\n',
            b"event: error\ndata: ",
            id="responses",
        ),
    ],
)
async def test_a_stream_breaks_in_the_words_of_its_api(
    path: str, last: bytes, event: bytes, make_bench: MakeBench
) -> None:
    broken = OK + b"Content-Type: text/event-stream\r\nContent-Length: 99\r\n\r\n" + last
    async with serving(once(broken)) as server:
        bench = await make_bench(server.url)
        await bench.ask(path)

    assert bench.trace.outcome is Outcome.BROKEN
    said = bench.body.removeprefix(last)
    assert said.startswith(event)
    content = json.loads(said.removeprefix(event))
    sentence = "The server of the model 'qwen' went away in the middle of its answer."
    assert (
        content
        == {
            CHAT: {
                "error": {
                    "message": sentence,
                    "type": "server_error",
                    "code": "upstream_error",
                    "param": None,
                }
            },
            "/v1/messages": {
                "type": "error",
                "error": {"type": "api_error", "message": sentence},
            },
            "/v1/responses": {
                "type": "error",
                "code": "upstream_error",
                "message": sentence,
                "param": None,
                "sequence_number": 8,
            },
        }[path]
    )


async def test_our_own_code_reads_an_answer_piece_by_piece(make_bench: MakeBench) -> None:
    async with serving(once(EVENTS + b"data: 1\n\n")) as server:
        bench = await make_bench(server.url)
        async with bench.opened() as answer:
            assert bench.usage.in_flight == {1: 1}
            pieces = [piece async for piece in answer]

    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert b"".join(pieces) == b"data: 1\n\n"
    assert bench.trace.outcome is Outcome.OK
    assert not bench.usage.in_flight


async def test_our_own_code_hears_that_an_answer_broke(make_bench: MakeBench) -> None:
    async with serving(once(OK + b"Content-Length: 9\r\n\r\nhello")) as server:
        bench = await make_bench(server.url)
        async with bench.opened() as answer:
            await anext(answer)
            with pytest.raises(UpstreamError, match="in the middle"):
                await anext(answer)

    assert bench.trace.outcome is Outcome.BROKEN
    assert not bench.usage.in_flight
