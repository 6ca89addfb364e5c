from typing import Any

import pytest

from servers_app.gateway.wishes import PROMPT_CHARS, Prefix, prefix_key

CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "Answer in French."}
FIRST = {"role": "user", "content": "What is a slot?"}
LATER = [{"role": "assistant", "content": "Une place."}, {"role": "user", "content": "Why?"}]


def image(data: str) -> dict[str, Any]:
    url = {"url": f"data:image/png;base64,{data}"}
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
    return {"role": "user", "content": parts}


def key(path: str, **values: Any) -> int:
    prefix = prefix_key(path, values)
    assert prefix is not None
    return prefix.key


def test_a_conversation_keeps_its_key_as_it_grows() -> None:
    begun = prefix_key(CHAT, {"messages": [SYSTEM, FIRST]})
    grown = prefix_key(CHAT, {"messages": [SYSTEM, FIRST, *LATER]})

    assert begun is not None
    assert (begun.is_new, grown) == (True, Prefix(begun.key, is_new=False))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([FIRST], id="no system prompt"),
        pytest.param([{**SYSTEM, "content": "Answer in German."}, FIRST], id="other system"),
        pytest.param([SYSTEM, {**FIRST, "content": "What is a tier?"}], id="other question"),
    ],
)
def test_another_beginning_is_another_conversation(messages: list[dict[str, Any]]) -> None:
    assert key(CHAT, messages=messages) != key(CHAT, messages=[SYSTEM, FIRST])


def test_images_tell_conversations_apart() -> None:
    assert key(CHAT, messages=[image("A" * 9000)]) == key(CHAT, messages=[image("A" * 9000)])
    assert key(CHAT, messages=[image("A" * 9000)]) != key(CHAT, messages=[image("B" * 9000)])


def test_long_texts_that_end_differently_are_told_apart() -> None:
    long = "The document: " + "x" * 100_000

    first, second = ({"role": "user", "content": long + end} for end in ("A", "B"))

    assert key(CHAT, messages=[first]) != key(CHAT, messages=[second])


def test_the_other_chat_calls_have_their_own_words_for_it() -> None:
    claude = [key("/v1/messages", system=text, messages=[FIRST]) for text in ("A", "B", "A")]
    responses = [key("/v1/responses", instructions="A", input=text) for text in ("1", "2", "1")]

    assert claude[0] == claude[2] != claude[1]
    assert responses[0] == responses[2] != responses[1]


def test_a_responses_text_goes_on_as_items() -> None:
    begun = prefix_key("/v1/responses", {"instructions": "A", "input": "What is a slot?"})
    grown = prefix_key("/v1/responses", {"instructions": "A", "input": [FIRST, *LATER]})

    assert begun is not None
    assert begun.is_new
    assert grown == (begun.key, False)


def test_a_prompt_is_known_by_its_beginning() -> None:
    prompt = "x" * PROMPT_CHARS

    assert key("/v1/completions", prompt=prompt) == key("/v1/completions", prompt=prompt + "y")
    assert key("/v1/completions", prompt=prompt) != key("/v1/completions", prompt="y" + prompt)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        pytest.param("/v1/embeddings", {"input": "x" * 9000}, id="an embedding"),
        pytest.param("/v1/completions", {"prompt": "short"}, id="a short prompt"),
        pytest.param("/v1/completions", {"prompt": [1, 2]}, id="tokens"),
        pytest.param(CHAT, {}, id="no messages"),
        pytest.param(CHAT, {"messages": {"role": "user"}}, id="messages that are no list"),
        pytest.param(CHAT, {"messages": [None, 7]}, id="messages that are no objects"),
        pytest.param(CHAT, {"messages": [SYSTEM]}, id="nothing of the user's"),
        pytest.param(CHAT, {"messages": [{"role": ["user"]}]}, id="a role that is no text"),
    ],
)
def test_there_is_no_key_where_there_is_no_conversation(
    path: str, values: dict[str, Any]
) -> None:
    assert prefix_key(path, values) is None


@pytest.mark.parametrize(
    "content", [None, 7, [None], [[["x"]]], [{"text": {"a": {}}}], {"a": 1}]
)
def test_a_content_of_any_type_does_no_harm(content: object) -> None:
    message = {"role": "user", "content": content}

    assert key(CHAT, messages=[message]) == key(CHAT, messages=[message])


def test_only_the_first_of_many_messages_are_looked_at() -> None:
    assert prefix_key(CHAT, {"messages": [SYSTEM] * 1000 + [FIRST]}) is None
