"""The official client, as people use it, against the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    Upstream,
    make_replica,
    make_route,
    make_table,
)

WORDS = ["Hel", "lo", "!"]


def _completion(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": "alias-1",
        "choices": [{"index": 0, "finish_reason": None, **choice}],
    }


async def chat(request: web.Request) -> web.StreamResponse:
    asked = json.loads(await request.read())
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS)}
        return web.json_response(_completion("chat.completion", {"message": message}))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for word in WORDS:
        chunk = _completion("chat.completion.chunk", {"delta": {"content": word}})
        await response.write(b"data: %s\n\n" % json.dumps(chunk).encode())
    if asked["messages"][0]["content"] == "die":
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture
async def upstream(make_upstream: MakeUpstream) -> Upstream:
    return await make_upstream(chat)


@pytest.fixture
async def client(
    upstream: Upstream, make_gateway: MakeGateway
) -> AsyncIterator[openai.AsyncOpenAI]:
    gateway = await make_gateway(make_table(make_route("qwen", make_replica(upstream.url))))
    # Made in a thread: it reads its certificates from the disk.
    made = await asyncio.to_thread(
        openai.AsyncOpenAI, base_url=f"{gateway}/v1", api_key="sk-none", max_retries=0
    )
    async with made:
        yield made


async def test_openai_lists_models(client: openai.AsyncOpenAI) -> None:
    models = await client.models.list()

    assert [model.id for model in models.data] == ["auto", "fast", "qwen"]
    assert (await client.models.retrieve("qwen")).owned_by == "magi"


async def test_openai_chats(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    answer = await client.chat.completions.create(
        model="qwen", messages=[{"role": "user", "content": "Hi"}]
    )

    assert answer.choices[0].message.content == "Hello!"
    assert upstream.received[0].headers["authorization"] == "Bearer server-key-1"


async def test_openai_chats_in_a_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Hi"}], stream=True
    )

    assert [chunk.choices[0].delta.content async for chunk in stream] == WORDS


async def test_openai_raises_our_error_when_a_stream_breaks(
    client: openai.AsyncOpenAI,
) -> None:
    stream = await client.chat.completions.create(
        model="qwen", messages=[{"role": "user", "content": "die"}], stream=True
    )

    with pytest.raises(openai.APIError, match="went away in the middle of its answer"):
        [chunk async for chunk in stream]


async def test_openai_raises_not_found_with_what_there_is(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Available: auto, fast, qwen") as caught:
        await client.chat.completions.create(model="gpt-4o", messages=[])

    assert caught.value.code == "model_not_found"
