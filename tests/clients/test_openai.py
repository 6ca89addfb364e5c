"""The official openai client, as people use it."""

import json
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from tests.clients.serving import CHAT, EMBEDDER, Engine

SCHEMA = {
    "type": "object",
    "properties": {"word": {"const": "naïve 🦜 日本"}},
    "required": ["word"],
}
FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "word", "strict": True, "schema": SCHEMA},
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def test_models_are_listed(openai_client: openai.OpenAI) -> None:
    listed = [model.id for model in openai_client.models.list()]

    assert {"auto", CHAT, EMBEDDER} <= set(listed)
    assert openai_client.models.retrieve(CHAT).owned_by == "magi"


def test_a_chat_is_answered(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )

    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 8


def test_auto_names_the_model_that_answered(openai_client: openai.OpenAI) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
    )

    assert raw.headers["x-magi-model"] == CHAT
    assert raw.headers["x-magi-request-id"]
    assert raw.parse().choices[0].message.content


def test_a_chat_is_streamed_in_pieces(openai_client: openai.OpenAI) -> None:
    chunks = list(
        openai_client.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=8,
            stream=True,
        )
    )

    assert len([text for text in map(_text, chunks) if text]) > 1
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_ends_with_its_usage_where_that_is_asked(
    openai_client: openai.OpenAI,
) -> None:
    *chunks, last = openai_client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )

    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens > 0
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks)


def test_tools_are_taken(openai_client: openai.OpenAI) -> None:
    """Whether so small a model calls one is its own affair."""
    answer = openai_client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "How is the weather in Paris?"}],
        tools=[TOOL],
        tool_choice="auto",
        max_tokens=16,
    )

    message = answer.choices[0].message
    assert message.content or message.tool_calls


def test_the_answer_to_a_tool_call_is_taken(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=CHAT,
        messages=[
            {"role": "user", "content": "How is the weather in Paris?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
        ],
        tools=[TOOL],
        max_tokens=8,
    )

    assert answer.choices[0].finish_reason in ("length", "stop")


def test_a_json_schema_holds_and_unicode_stays_whole(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Quel mot ? 🦜 日本"}],
        response_format=FORMAT,
        temperature=0,
    )

    assert json.loads(answer.choices[0].message.content or "") == {"word": "naïve 🦜 日本"}


def test_unicode_stays_whole_in_a_stream(openai_client: openai.OpenAI) -> None:
    stream = openai_client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Quel mot ?"}],
        response_format=FORMAT,
        temperature=0,
        stream=True,
    )

    assert json.loads("".join(map(_text, stream))) == {"word": "naïve 🦜 日本"}


def test_unicode_reaches_the_engine_whole(
    openai_client: openai.OpenAI, chat_engine: Engine
) -> None:
    text = "naïve 🦜 日本 \u0000 \u2028 ﷽"

    answer = openai_client.completions.create(model=CHAT, prompt=text, max_tokens=1)

    status, tokenized = chat_engine.ask("/tokenize", {"content": text})
    assert status == 200
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(tokenized["tokens"])


def test_a_text_is_completed(openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(
        model=CHAT, prompt="One, two, three,", max_tokens=4
    )

    assert answer.object == "text_completion"
    assert answer.choices[0].text


def test_a_completion_is_streamed(openai_client: openai.OpenAI) -> None:
    chunks = openai_client.completions.create(
        model=CHAT, prompt="One, two, three,", max_tokens=4, stream=True
    )

    assert "".join(chunk.choices[0].text for chunk in chunks)


def test_texts_are_embedded_as_the_engine_does(
    openai_client: openai.OpenAI, embedding_engine: Engine
) -> None:
    texts = ["a cat", "a small cat", "quantum chromodynamics"]

    answer = openai_client.embeddings.create(
        model=EMBEDDER, input=texts, encoding_format="float"
    )

    _status, direct = embedding_engine.ask("/v1/embeddings", {"input": texts, "model": "any"})
    assert [item.embedding for item in answer.data] == [
        item["embedding"] for item in direct["data"]
    ]


def test_embeddings_in_base64_are_the_same(openai_client: openai.OpenAI) -> None:
    as_base64 = openai_client.embeddings.create(model=EMBEDDER, input="a cat")  # its default
    as_floats = openai_client.embeddings.create(
        model=EMBEDDER, input="a cat", encoding_format="float"
    )

    assert len(as_base64.data[0].embedding) == len(as_floats.data[0].embedding)


def test_a_response_is_created(openai_client: openai.OpenAI) -> None:
    response = openai_client.responses.create(
        model=CHAT, input="Say hello.", max_output_tokens=8
    )

    assert response.status == "completed"
    assert response.output_text


def test_a_response_is_streamed(openai_client: openai.OpenAI) -> None:
    text = ""
    events = []
    stream = openai_client.responses.create(
        model=CHAT, input="Say hello.", max_output_tokens=8, stream=True
    )
    for event in stream:
        events.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta

    assert text
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


def _text(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices)
