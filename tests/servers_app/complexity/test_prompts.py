"""What is read of a request's body, whatever a client sends."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servers_app.complexity.prompts import END_CHARS, Prompt, ends, read_prompt

CHAT = "/v1/chat/completions"
PATHS = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/api/query", "/v1/other")


@pytest.mark.parametrize(
    ("path", "values"),
    [
        pytest.param(CHAT, {"messages": [{"role": "user", "content": "Why?"}]}, id="chat"),
        pytest.param(
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]},
            id="chat in parts",
        ),
        pytest.param("/v1/completions", {"prompt": "Why?"}, id="completions"),
        pytest.param("/v1/completions", {"prompt": ["Why?"]}, id="completions, a list"),
        pytest.param("/v1/responses", {"input": "Why?"}, id="responses"),
        pytest.param(
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]},
            id="responses in items",
        ),
        pytest.param(
            "/v1/messages", {"messages": [{"role": "user", "content": "Why?"}]}, id="anthropic"
        ),
        pytest.param("/api/query", {"query": "Why?"}, id="query"),
    ],
)
def test_the_ask_is_found_in_every_shape(path: str, values: dict[str, Any]) -> None:
    prompt = read_prompt(path, values)

    assert prompt == Prompt(text="Why?", text_chars=4, turns=1)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "Be kind."}]}),
        (CHAT, {"messages": [{"role": "developer", "content": "Be kind."}]}),
        ("/v1/responses", {"instructions": "Be kind."}),
        ("/v1/messages", {"system": "Be kind."}),
        ("/v1/messages", {"system": [{"type": "text", "text": "Be kind."}]}),
    ],
)
def test_the_system_prompt_is_apart(path: str, values: dict[str, Any]) -> None:
    prompt = read_prompt(path, values)

    assert (prompt.system, prompt.system_chars, prompt.text) == ("Be kind.", 8, "")


def test_the_last_ask_counts_and_what_was_before_is_history() -> None:
    said = [("user", "12345"), ("assistant", "1234567"), ("user", "And now?")]
    values = {"messages": [{"role": role, "content": text} for role, text in said]}

    prompt = read_prompt(CHAT, values)

    assert (prompt.text, prompt.turns, prompt.history_chars) == ("And now?", 2, 12)


@pytest.mark.parametrize(
    ("path", "name", "results"),
    [
        (
            CHAT,
            "messages",
            [{"role": "tool", "content": "7"}, {"role": "tool", "content": "8"}],
        ),
        (
            "/v1/responses",
            "input",
            [{"type": "function_call_output", "output": "7"}] * 2,
        ),
        (
            "/v1/messages",
            "messages",
            [{"role": "user", "content": [{"type": "tool_result", "content": "7"}] * 2}],
        ),
    ],
)
def test_tool_results_are_counted_and_are_no_ask(
    path: str, name: str, results: list[dict[str, Any]]
) -> None:
    values = {name: [{"role": "user", "content": "Sum up."}, *results], "tools": [{}, {}, {}]}

    prompt = read_prompt(path, values)

    assert (prompt.text, prompt.turns) == ("Sum up.", 1)
    assert (prompt.tools, prompt.tool_results) == (3, 2)


def test_results_that_an_earlier_ask_needed_do_not_count() -> None:
    said = [
        {"role": "user", "content": "Weather?"},
        {"role": "tool", "content": "Rain"},
        {"role": "user", "content": "Thanks"},
    ]

    assert read_prompt(CHAT, {"messages": said}).tool_results == 0


@pytest.mark.parametrize("kind", ["image_url", "input_image", "image"])
def test_an_image_is_seen_but_not_read(kind: str) -> None:
    content = [{"type": kind, "image_url": {"url": "data:" + "A" * 99}}]

    prompt = read_prompt(CHAT, {"messages": [{"role": "user", "content": content}]})

    assert (prompt.has_images, prompt.text) == (True, "")


@pytest.mark.parametrize(
    "values",
    [
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"text": {"format": {"type": "json_schema"}}},
        {"json_schema": {}},
    ],
)
def test_an_asked_for_schema_is_seen(values: dict[str, Any]) -> None:
    assert read_prompt(CHAT, values).has_schema


def test_of_a_long_text_the_two_ends_are_kept() -> None:
    text = "a" * END_CHARS + "middle" * 10_000 + "z" * END_CHARS

    prompt = read_prompt("/v1/completions", {"prompt": text})

    assert prompt.text == "a" * END_CHARS + "\n" + "z" * END_CHARS
    assert prompt.text_chars == len(text)


def test_a_text_in_pieces_is_read_whole_and_in_order() -> None:
    content = [{"type": "text", "text": word * 1000} for word in "abcdefghij"]

    prompt = read_prompt(CHAT, {"messages": [{"role": "user", "content": content}]})

    assert prompt.text.startswith("a" * 1000 + "\n" + "b" * 1000)
    assert prompt.text.endswith("i" * 1000 + "\n" + "j" * 1000)
    assert prompt.text_chars == 10 * 1000 + 9


def test_what_a_small_model_is_shown_is_short() -> None:
    assert ends("short") == "short"
    assert len(ends("x" * 100_000)) < 512


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["user", "tool", "system", "text", "image", "tool_result"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "format", "output"]), inner
    ),
    max_leaves=20,
)  # fmt: skip
NAMES = ["messages", "input", "prompt", "query", "system", "instructions", "tools", "text"]


@example(path="/v1/chat/completions", values={"messages": [{"role": []}]})
@given(path=st.sampled_from(PATHS), values=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_json_is_too_strange(path: str, values: dict[str, Any]) -> None:
    prompt = read_prompt(path, values)

    assert prompt.text_chars >= 0
    assert isinstance(prompt.text, str)
