import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from servers_app.gateway.asgi import Exchange, Message
from servers_app.gateway.errors import ClientGoneError, GatewayError, InvalidRequestError
from servers_app.gateway.queueing import QueueFullError
from servers_app.gateway.routes import Route, RoutingTable, TwoStage
from servers_app.gateway.sse import DONE, Events, event_of, object_of
from servers_app.gateway.stages import Answer, Open
from servers_app.gateway.thinking import CHAT_PATH
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.two_stage import INSTRUCTION, TwoStageRun, answer_two_stage, plan_for
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import (
    Handler,
    MakeUpstream,
    Upstream,
    make_replica,
    make_route,
    make_table,
    never_answer,
    refused_url,
    until,
)
from tests.servers_app.gateway.opening import MakeOpen, make_open

__all__ = ["make_open"]  # a fixture

PLAN = TwoStage("fast", "powerful", stage1_max_tokens=100)
ASKED = {"model": "two-stage", "messages": [{"role": "user", "content": "2+2?"}]}
DRAFT = "<think>Hm</think>5"


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return event_of({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


def says(text: str, *, dies: bool = False, **counts: int) -> Handler:
    """Return a llama-server that answers `text`, a letter a chunk."""

    async def answer(request: web.Request) -> web.StreamResponse:
        counted = usage(**counts) if counts else usage(10, 3)
        if not json.loads(await request.read()).get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}}
            return web.json_response({"id": "x", "choices": [choice], "usage": counted})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk({"role": "assistant", "content": None}))
        for letter in text:
            await response.write(chunk({"content": letter}))
        if dies:
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(chunk({}, "stop"))
        await response.write(event_of({"choices": [], "usage": counted}) + DONE)
        return response

    return answer


def refuses(status: int, **error: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": error}, status=status)

    return answer


@dataclass
class Client:
    """The other end of an exchange: what it got, and when it leaves."""

    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        scope = {"method": "POST", "path": CHAT_PATH, "query_string": b"", "headers": []}
        return Exchange(scope, self._receive, self._send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def chunks(self) -> list[dict[str, Any]]:
        found = (object_of(event) for event in Events().feed(self.body))
        return [one for one in found if one is not None]

    def said(self, key: str) -> str:
        deltas = [c["delta"] for chunk in self.chunks for c in chunk.get("choices", [])]
        return "".join(delta.get(key) or "" for delta in deltas)

    async def _receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


def routes(fast: str, powerful: str) -> tuple[Route, Route]:
    return (
        make_route("small", make_replica(fast, server_id=1), tier="fast"),
        make_route("large", make_replica(powerful, server_id=2), tier="powerful"),
    )


Ask = Callable[..., Any]


@pytest.fixture
def trace() -> Trace:
    return Trace("r1", CHAT_PATH)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def ask(make_open: MakeOpen, client: Client, trace: Trace) -> Ask:
    """Return a function that asks for an answer in two stages of servers at these places."""

    async def run(fast: str, powerful: str, *, hide: bool = False, **asked: Any) -> Client:
        open_: Open = await make_open(make_table(*routes(fast, powerful)))
        body = {**ASKED, **asked}
        two_stages = TwoStageRun(open_, PLAN, body, trace)
        is_stream = bool(body.get("stream"))
        await answer_two_stage(client.exchange, two_stages, is_stream=is_stream, hide=hide)
        return client

    return run


@pytest.fixture
async def small(make_upstream: MakeUpstream) -> Upstream:
    return await make_upstream(says(DRAFT, prompt=10, completion=3))


@pytest.fixture
async def large(make_upstream: MakeUpstream) -> Upstream:
    return await make_upstream(says("It is 4", prompt=20, completion=4))


def received(upstream: Upstream) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(upstream.received[0].body)
    return body


async def test_the_second_stage_answers_with_the_draft_before_it(
    ask: Ask, small: Upstream, large: Upstream
) -> None:
    client = await ask(small.url, large.url, temperature=0.5)

    answer = json.loads(client.body)
    assert answer["choices"][0]["message"]["content"] == "It is 4"
    assert (answer["model"], answer["object"]) == ("two-stage", "chat.completion")
    assert received(large)["messages"] == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": INSTRUCTION},
    ]
    assert received(small)["temperature"] == received(large)["temperature"] == 0.5
    assert client.headers[b"x-magi-model"] == b"large"
    assert client.headers[b"x-magi-tier"] == b"powerful"


async def test_the_usage_is_of_both_stages(
    ask: Ask, small: Upstream, large: Upstream, trace: Trace
) -> None:
    answer = json.loads((await ask(small.url, large.url)).body)

    assert answer["usage"]["total_tokens"] == 37
    first, second = answer["magi"]["stages"]
    assert (first["stage"], first["tier"], first["model_id"]) == (1, "fast", "small")
    assert (second["tier"], second["tokens"]) == ("powerful", 4)
    assert (trace.prompt_tokens, trace.completion_tokens, trace.cached_tokens) == (30, 7, 2)
    assert (trace.model_id, trace.tier, trace.outcome) == ("large", "powerful", Outcome.OK)


@pytest.mark.parametrize(("given", "limit"), [(None, 100), (7, 7), (500, 100)])
async def test_the_draft_has_a_limit_and_no_tools(
    ask: Ask, small: Upstream, large: Upstream, given: int | None, limit: int
) -> None:
    asked = {} if given is None else {"max_completion_tokens": given}

    await ask(small.url, large.url, tools=[{}], response_format={"type": "text"}, **asked)

    first, second = received(small), received(large)
    assert first["max_tokens"] == limit
    assert not {"tools", "response_format", "max_completion_tokens"} & first.keys()
    assert second["tools"] == [{}]
    assert second.get("max_completion_tokens") == given


async def test_a_stream_shows_the_draft_as_reasoning(
    ask: Ask, small: Upstream, large: Upstream
) -> None:
    client = await ask(
        small.url, large.url, stream=True, stream_options={"include_usage": True}
    )

    assert client.said("reasoning_content") == "Hm5"
    assert client.said("content") == "It is 4"
    assert len({(one["id"], one["model"]) for one in client.chunks}) == 1
    assert {"stage": 1, "tier": "fast", "model_id": "small", "part": "draft"} in [
        one["magi"] for one in client.chunks
    ]
    last = client.chunks[-1]
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 37)
    assert [stage["stage"] for stage in last["magi"]["stages"]] == [1, 2]
    assert client.body.count(b"[DONE]") == 1
    assert client.body.count(b'"usage"') == 1


async def test_every_chunk_has_a_choice_for_who_did_not_ask_for_the_usage(
    ask: Ask, small: Upstream, large: Upstream
) -> None:
    client = await ask(small.url, large.url, stream=True)

    assert all(one["choices"] for one in client.chunks)


async def test_hidden_thinking_hides_the_draft(
    ask: Ask, small: Upstream, make_upstream: MakeUpstream
) -> None:
    thinks = await make_upstream(says("<think>Oh</think>4"))

    client = await ask(small.url, thinks.url, stream=True, hide=True)

    assert (client.said("reasoning_content"), client.said("content")) == ("", "4")


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(None, id="not reached"),
        pytest.param(refuses(500, message="x"), id="failed"),
        pytest.param(refuses(400, type="exceed_context_size_error"), id="context too small"),
    ],
)
async def test_without_a_second_stage_the_draft_is_the_answer_with_a_warning(
    ask: Ask,
    small: Upstream,
    make_upstream: MakeUpstream,
    fails: Handler | None,
    is_stream: bool,
) -> None:
    url = refused_url() if fails is None else (await make_upstream(fails)).url

    client = await ask(small.url, url, stream=is_stream)

    assert client.sent[0]["status"] == 200
    if is_stream:
        assert client.said("content") == "5"
        told = client.chunks[-1]
        assert client.body.endswith(DONE)
    else:
        told = json.loads(client.body)
        assert told["choices"][0]["message"]["content"] == "5"
        assert told["choices"][0]["finish_reason"] == "stop"
        assert b"nobody has checked" in client.headers[b"x-magi-warning"]
    assert told["magi"]["warning"].startswith("This is the draft, which nobody has checked.")
    assert [stage["model_id"] for stage in told["magi"]["stages"]] == ["small"]


async def test_a_second_stage_that_is_too_busy_is_as_one_that_is_not_there(
    make_open: MakeOpen, small: Upstream, trace: Trace
) -> None:
    open_ = await make_open(make_table(*routes(small.url, refused_url())))

    @asynccontextmanager
    async def crowded(path: str, body: Any, wish: Wish, trace: Trace) -> AsyncIterator[Answer]:
        if wish.name == "powerful":
            raise QueueFullError(wish.name, 1, 5)
        async with open_(path, body, wish, trace) as answer:
            yield answer

    answer = await TwoStageRun(crowded, PLAN, ASKED, trace).whole()

    assert answer["choices"][0]["message"]["content"] == "5"
    assert "is full: 1 requests wait" in answer["magi"]["warning"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(None, id="not reached"),
        pytest.param(says("half a dr", dies=True), id="broken off"),
        pytest.param(says("<think>and thinks"), id="nothing but thinking"),
        pytest.param(refuses(400, message="no tools here"), id="refused"),
    ],
)
async def test_without_a_draft_the_second_stage_answers_alone_with_a_warning(
    ask: Ask, large: Upstream, make_upstream: MakeUpstream, first: Handler | None
) -> None:
    url = refused_url() if first is None else (await make_upstream(first)).url

    answer = json.loads((await ask(url, large.url)).body)

    assert answer["choices"][0]["message"]["content"] == "It is 4"
    assert answer["magi"]["warning"].startswith("There was no draft to check")
    assert received(large)["messages"] == ASKED["messages"]


@pytest.mark.parametrize("is_stream", [True, False])
async def test_without_either_stage_there_is_an_error(
    ask: Ask, client: Client, is_stream: bool
) -> None:
    with pytest.raises(GatewayError, match="not reached"):
        await ask(refused_url(), refused_url(), stream=is_stream)

    assert client.sent == []


async def test_what_the_second_stage_refuses_is_refused(
    ask: Ask, small: Upstream, make_upstream: MakeUpstream
) -> None:
    strict = await make_upstream(refuses(400, message="bad grammar"))

    with pytest.raises(InvalidRequestError, match="bad grammar"):
        await ask(small.url, strict.url, grammar="?")


async def test_a_second_stage_that_breaks_off_ends_the_stream_with_an_error(
    ask: Ask, small: Upstream, make_upstream: MakeUpstream, trace: Trace
) -> None:
    dies = await make_upstream(says("It i", dies=True))

    client = await ask(small.url, dies.url, stream=True)

    assert client.said("content") == "It i"
    assert "went away" in client.chunks[-1]["error"]["message"]
    assert trace.outcome == Outcome.BROKEN


@pytest.mark.parametrize("stage", [1, 2])
async def test_a_client_that_leaves_frees_the_server_of_either_stage(
    ask: Ask, small: Upstream, make_upstream: MakeUpstream, client: Client, stage: int
) -> None:
    hangs = await make_upstream(never_answer)
    urls = (hangs.url, small.url) if stage == 1 else (small.url, hangs.url)
    asking = asyncio.create_task(ask(*urls, stream=True))
    await until(lambda: bool(hangs.received))

    client.leaves.set()

    with pytest.raises(ClientGoneError):
        await asking
    await asyncio.wait_for(hangs.hung_up.wait(), 10)


@pytest.mark.parametrize(
    "messages",
    [None, "Hi", [], ["Hi"], [{"role": "assistant", "content": "I"}]],
)
async def test_what_is_no_conversation_is_refused(messages: object, ask: Ask) -> None:
    with pytest.raises(InvalidRequestError):
        await ask(refused_url(), refused_url(), messages=messages)


def test_two_stages_are_of_the_profile_and_of_the_chat() -> None:
    off: RoutingTable = make_table()

    assert plan_for(replace(off, two_stage=PLAN), CHAT_PATH) is PLAN
    with pytest.raises(InvalidRequestError, match="Turn them on in the profile"):
        plan_for(off, CHAT_PATH)
    with pytest.raises(InvalidRequestError, match="only"):
        plan_for(replace(off, two_stage=PLAN), "/v1/completions")
