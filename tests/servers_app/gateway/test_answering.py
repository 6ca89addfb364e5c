"""The way of a request through all of the gateway, and what is written down of it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from servers_app.gateway import comments
from servers_app.gateway.routes import RoutingTable, TwoStage
from servers_app.gateway.trace import Outcome, Trace
from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    make_table,
    until,
)

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://127.0.0.1:1"
HARD = (
    "Prove that there are infinitely many primes of the form 4k+3, derive a lower bound for "
    "their density, compare two proof strategies step by step, and explain why each must "
    "handle the case k = 0. Then design an algorithm that lists them, analyse its complexity "
    "and debug this code:\n```python\ndef sieve(n):\n    return [p for p in range(n)]\n```"
)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 5},
}


@pytest.fixture
def records(stage: Stage) -> list[Trace]:
    """Return what is written down of requests that are over."""
    return stage.recorded


def asking(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}


async def say_whole(_request: web.Request) -> web.StreamResponse:
    message = {"role": "assistant", "content": "<think>Hm.</think>Four."}
    return web.json_response({"choices": [{"index": 0, "message": message}], "usage": USAGE})


def of_tiers(url: str, tiers: Sequence[str]) -> RoutingTable:
    return make_table(
        *(
            make_route(f"model-{tier}", make_replica(url, server_id=number), tier=tier)
            for number, tier in enumerate(tiers, 1)
        )
    )


@pytest.mark.parametrize(
    ("text", "tier"),
    [pytest.param("Hi!", "fast", id="easy"), pytest.param(HARD, "powerful", id="hard")],
)
async def test_auto_goes_to_the_tier_of_the_requests_complexity(
    text: str,
    tier: str,
    stage: Stage,
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    records = stage.recorded
    upstream = await make_upstream(say_whole)
    stage.table = of_tiers(upstream.url, ["fast", "balanced", "powerful"])
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json=asking(text)) as response:
        await response.read()

    assert response.headers["X-Magi-Model"] == f"model-{tier}"
    assert response.headers["X-Magi-Tier"] == tier
    assert "X-Magi-Reason" not in response.headers
    await until(lambda: bool(records))
    assert response.headers["X-Magi-Score"] == f"{records[0].score:.1f}"
    assert (records[0].scored_by, records[0].tier) == ("heuristic", tier)
    assert records[0].factors


async def test_an_answer_of_another_tier_says_why(
    stage: Stage,
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(say_whole)
    cold = make_route("strong", make_replica(ELSEWHERE, state="stopped"), tier="powerful")
    warm = make_route("weak", make_replica(upstream.url, server_id=2), tier="fast")
    stage.show_routes(cold, warm)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json=asking(HARD)) as response:
        await response.read()

    assert response.headers["X-Magi-Tier"] == "fast"
    reason = "No model of the tier powerful is ready or starting."
    assert response.headers["X-Magi-Reason"] == reason


@pytest.mark.parametrize("name", ["powerful", "gpt-4o"])
async def test_a_tier_or_an_alias_is_a_model_name_that_nobody_scores(
    name: str,
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(say_whole)
    table = of_tiers(upstream.url, ["fast", "powerful"])
    strong = replace(table.routes["model-powerful"], aliases=("gpt-4o",))
    stage.table = make_table(table.routes["model-fast"], strong)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json=asking("Hi!", model=name)) as response:
        await response.read()

    assert response.headers["X-Magi-Model"] == "model-powerful"
    assert "X-Magi-Score" not in response.headers
    await until(lambda: bool(records))
    assert (records[0].asked, records[0].model_id) == (name, "model-powerful")


async def test_what_a_request_took_is_written_down(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(say_whole)
    stage.show(make_replica(upstream.url))
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(
        f"{gateway}{CHAT}",
        json=asking("secret words", model="qwen"),
        headers={"X-Request-Id": "mine-1", "Authorization": "Bearer sk-secret"},
    ) as response:
        await response.read()

    await until(lambda: bool(records))
    (trace,) = records
    assert (trace.request_id, trace.path, trace.status) == ("mine-1", CHAT, 200)
    assert (trace.outcome, trace.model_id, trace.server_id) == (Outcome.OK, "qwen", 1)
    assert (trace.prompt_tokens, trace.cached_tokens, trace.completion_tokens) == (7, 5, 3)
    assert trace.total_s is not None
    assert trace.first_byte_s is not None
    assert trace.first_byte_s <= trace.total_s
    assert "secret" not in repr(trace)


async def test_the_first_byte_of_a_stream_is_of_its_first_token_and_not_of_its_head(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    async def say(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in (b": ping\n\n", b"data: {}\n\n"):
            await asyncio.sleep(0.15)  # that it takes to read the prompt
            await response.write(piece)
        return response

    upstream = await make_upstream(say)
    stage.show(make_replica(upstream.url))
    gateway = await make_gateway(stage.load, stage.control)

    body = asking("Hi!", model="qwen", stream=True)
    async with client.post(f"{gateway}{CHAT}", json=body) as response:
        await response.read()

    await until(lambda: bool(records))
    assert records[0].first_byte_s is not None
    assert records[0].first_byte_s >= 0.3


async def test_prompts_are_kept_only_if_somebody_wants_that(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(say_whole)
    stage.show(make_replica(upstream.url))
    gateway = await make_gateway(stage.load, stage.control, keep_prompts=True)

    async with client.post(
        f"{gateway}{CHAT}", json=asking("my words", model="qwen")
    ) as response:
        await response.read()

    await until(lambda: bool(records))
    assert records[0].prompt == "my words"


async def test_a_request_that_is_refused_is_written_down_as_well(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
) -> None:
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json=asking("Hi", model="gpt-9")) as response:
        assert response.status == 404

    await until(lambda: bool(records))
    (trace,) = records
    assert (trace.outcome, trace.status) == (Outcome.REFUSED, 404)
    assert (trace.asked, trace.error_code) == ("gpt-9", "model_not_found")


@pytest.mark.parametrize("is_hidden", [False, True])
async def test_thinking_is_told_from_the_answer_and_a_preset_may_hide_it(
    is_hidden: bool,
    stage: Stage,
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream(say_whole)
    stage.table = replace(
        make_table(make_route("qwen", make_replica(upstream.url))),
        presets={"quiet": {}, "open": {}},
        hidden_thinking=frozenset({"quiet"}),
    )
    gateway = await make_gateway(stage.load, stage.control)
    preset = "quiet" if is_hidden else "open"

    async with client.post(
        f"{gateway}{CHAT}", json=asking("2+2?", model="qwen", preset=preset)
    ) as response:
        message = (await response.json())["choices"][0]["message"]

    assert message["content"] == "Four."
    assert message.get("reasoning_content") == (None if is_hidden else "Hm.")


async def test_two_stage_asks_one_tier_after_the_other(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    async def say(request: web.Request) -> web.StreamResponse:
        if not (await request.json())["stream"]:
            return await say_whole(request)
        delta = {"role": "assistant", "content": "Draft"}
        chunk = {"choices": [{"index": 0, "delta": delta}], "usage": USAGE}
        return web.Response(
            body=b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode(),
            content_type="text/event-stream",
        )

    upstream = await make_upstream(say)
    stage.table = replace(
        of_tiers(upstream.url, ["fast", "powerful"]),
        two_stage=TwoStage("fast", "powerful", 100),
    )
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(
        f"{gateway}{CHAT}", json=asking("2+2?", model="two-stage")
    ) as response:
        answer = await response.json()

    assert answer["choices"][0]["message"]["content"].endswith("Four.")
    models = [one["model_id"] for one in answer["magi"]["stages"]]
    assert models == ["model-fast", "model-powerful"]
    assert [one.headers["authorization"] for one in upstream.received] == [
        "Bearer server-key-1",
        "Bearer server-key-2",
    ]
    await until(lambda: bool(records))
    assert records[0].completion_tokens == 6


async def test_a_stream_that_waits_is_commented_on_and_its_error_is_an_event(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comments, "FIRST_AFTER_S", 0.05)
    loading = replace(make_replica(ELSEWHERE, state="starting"), progress=0.42)
    stage.show(loading)
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(
        f"{gateway}{CHAT}", json=asking("Hi", model="qwen", stream=True)
    ) as response:
        first = await response.content.readline()
        stage.show(make_replica(ELSEWHERE, state="failed", failure="It has no weights."))
        rest = await response.content.read()

    assert response.status == 200
    assert first.startswith(b": loading qwen 42 % (")
    event = rest.split(b"data: ")[-1]
    assert json.loads(event)["error"]["code"] == "model_not_ready"
    await until(lambda: bool(records))
    assert records[0].outcome is Outcome.FAILED


async def test_a_client_that_leaves_is_written_down_and_its_slot_is_free(
    stage: Stage,
    records: list[Trace],
    make_gateway: MakeGateway,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    upstream = await make_upstream(never)
    stage.show(replace(make_replica(upstream.url), slots=1))
    gateway = await make_gateway(stage.load, stage.control)

    asked = asyncio.create_task(
        client.post(f"{gateway}{CHAT}", json=asking("Hi", model="qwen"))
    )
    await until(lambda: bool(upstream.received))
    asked.cancel()

    await until(lambda: bool(records))
    assert records[0].outcome is Outcome.CLIENT_GONE
    await until(upstream.hung_up.is_set)
