"""The official anthropic client, as people use it."""

from typing import Any

import anthropic
import pytest

from tests.clients.serving import CERTAIN, CHAT, IDLE_PAUSE_S, LASTING, Engine, until

ASK: Any = [{"role": "user", "content": "Say hello."}]
TOOL: Any = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def test_a_message_is_answered(anthropic_client: anthropic.Anthropic) -> None:
    message = anthropic_client.messages.create(
        model=CHAT, max_tokens=8, messages=ASK, extra_body=CERTAIN
    )

    assert message.role == "assistant"
    assert _text(message)
    assert 0 < message.usage.output_tokens <= 8


def test_a_message_is_streamed(anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model=CHAT, max_tokens=8, system="Be brief.", messages=ASK, extra_body=CERTAIN
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()

    assert text
    assert _text(message) == text
    assert message.stop_reason in ("end_turn", "max_tokens")


def test_the_events_of_a_stream_are_anthropics(anthropic_client: anthropic.Anthropic) -> None:
    events = [
        event.type
        for event in anthropic_client.messages.create(
            model=CHAT, max_tokens=4, messages=ASK, stream=True, extra_body=CERTAIN
        )
    ]

    assert events[0] == "message_start"
    assert "content_block_delta" in events
    assert events[-1] == "message_stop"


def test_tools_are_taken(anthropic_client: anthropic.Anthropic) -> None:
    message = anthropic_client.messages.create(
        model=CHAT, max_tokens=16, messages=ASK, tools=[TOOL]
    )

    assert {block.type for block in message.content} <= {"text", "tool_use"}


def test_tokens_are_counted_as_the_engine_does(
    anthropic_client: anthropic.Anthropic, chat_engine: Engine
) -> None:
    counted = anthropic_client.messages.count_tokens(model=CHAT, messages=ASK)

    _status, direct = chat_engine.ask("/v1/messages/count_tokens", {"messages": ASK})
    assert counted.input_tokens == direct["input_tokens"]


def test_an_unknown_model_is_not_found(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match=CHAT) as caught:
        anthropic_client.messages.create(model="claude-5", max_tokens=8, messages=ASK)

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert "claude-5" in caught.value.body["error"]["message"]


def test_what_the_engine_refuses_is_said_in_its_words(
    anthropic_client: anthropic.Anthropic, chat_engine: Engine
) -> None:
    body = {"max_tokens": 4, "messages": [{"role": "user", "content": 5}]}

    with pytest.raises(anthropic.BadRequestError) as caught:
        anthropic_client.post("/v1/messages", cast_to=object, body={"model": CHAT, **body})

    assert (caught.value.status_code, caught.value.body) == chat_engine.ask(
        "/v1/messages", body
    )


def test_leaving_a_stream_frees_the_slot(
    anthropic_client: anthropic.Anthropic, chat_engine: Engine
) -> None:
    stream = anthropic_client.messages.create(
        model=CHAT,
        max_tokens=8000,
        messages=[{"role": "user", "content": LASTING}],
        stream=True,
        extra_body=CERTAIN,
    )
    next(stream)
    assert not chat_engine.is_idle

    stream.close()

    until(lambda: chat_engine.is_idle, pause_s=IDLE_PAUSE_S)


def _text(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
