import json
from collections.abc import Collection
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers_app.gateway import thinking
from servers_app.gateway.sse import DONE, Events, event_of, object_of
from servers_app.gateway.thinking import CHAT_PATH, make_filter, split_thinking, wants_thinking

STREAM, JSON = "text/event-stream", "application/json"


def chunk(delta: dict[str, Any], *, index: int = 0, **fields: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": None, **fields}
    return event_of({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]})


def stream_of(*texts: str) -> bytes:
    """Return a stream as llama-server makes it, of a model that writes these texts."""
    chunks = (chunk({"content": text}) for text in texts)
    end = chunk({}, finish_reason="stop")
    return b"".join((chunk({"role": "assistant", "content": None}), *chunks, end, DONE))


def filtered(
    stream: bytes,
    cuts: Collection[int] = (),
    *,
    is_thinking: bool = False,
    hide: bool = False,
    is_single: bool = True,
) -> bytes:
    made = make_filter(
        CHAT_PATH, STREAM, is_thinking=is_thinking, hide=hide, is_single=is_single
    )
    assert made is not None
    ends = [*sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return b"".join([*(made.feed(piece) for piece in pieces), made.finish()])


def said(stream: bytes, index: int = 0) -> tuple[str, str]:
    """Return the reasoning and the content of a stream's choice."""
    told = {"reasoning_content": "", "content": ""}
    for event in Events().feed(stream):
        for choice in (object_of(event) or {}).get("choices", []):
            if choice["index"] == index:
                for key in told:
                    told[key] += choice["delta"].get(key) or ""
    return told["reasoning_content"], told["content"]


def whole(message: dict[str, Any], *, is_thinking: bool = False, hide: bool = False) -> Any:
    made = make_filter(CHAT_PATH, JSON, is_thinking=is_thinking, hide=hide)
    assert made is not None
    body = json.dumps({"choices": [{"message": message}], "usage": {"total_tokens": 9}})
    assert made.feed(body.encode()) == b""
    answer = json.loads(made.finish())
    assert answer["usage"] == {"total_tokens": 9}
    return answer["choices"][0]["message"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("<think>Why?</think>Because.", ("Why?", "Because."), id="marked"),
        pytest.param("\n<think>\n a \n</think>\n\nb ", ("a", "b "), id="white space"),
        pytest.param("Why?</think>Because.", ("Why?", "Because."), id="no opening tag"),
        pytest.param("<think>\n\n</think>\n\nYes", ("", "Yes"), id="no thoughts"),
        pytest.param("<think>cut o", ("cut o", ""), id="cut off"),
        pytest.param("Say <think> aloud", ("", "Say <think> aloud"), id="a tag further on"),
        pytest.param("<thi", ("", "<thi"), id="half a tag"),
        pytest.param("<think>a < b </th", ("a < b </th", ""), id="half a closing tag"),
        pytest.param("", ("", ""), id="nothing"),
    ],
)
def test_thinking_is_told_from_the_answer(text: str, parts: tuple[str, str]) -> None:
    assert split_thinking(text) == parts
    assert said(filtered(stream_of(*text), is_thinking=True)) == parts


def test_tags_that_are_cut_into_letters_are_found_in_a_stream() -> None:
    assert said(filtered(stream_of(*"<think>Hm…</think>\n4"))) == ("Hm…", "4")


def test_an_ordinary_answer_passes_byte_by_byte_as_it_was() -> None:
    stream = stream_of("Four", " is 2+2; </think> is a tag").replace(
        b'"content"', b'"content" '
    )

    assert filtered(stream) == stream


def test_reasoning_that_llama_server_separated_passes_as_it_was() -> None:
    thought = chunk({"reasoning_content": "Hm"})
    stream = thought + stream_of("4 </think>")

    assert filtered(stream, is_thinking=True) == stream


def test_after_the_answer_has_begun_the_stream_passes_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_filter(CHAT_PATH, STREAM, is_thinking=False, hide=False)
    assert made is not None
    made.feed(chunk({"content": "<think>a</think>b"}))
    monkeypatch.setattr(thinking, "object_of", pytest.fail)

    assert made.feed(b"data: half an ev") == b"data: half an ev"


def test_a_thinking_model_that_does_not_think_is_quoted_as_it_was() -> None:
    assert said(filtered(stream_of("4", " is it."), is_thinking=True)) == ("", "4 is it.")


def test_a_model_that_does_not_think_may_write_a_closing_tag() -> None:
    assert said(filtered(stream_of("4 </think>"))) == ("", "4 </think>")


def test_a_tool_call_ends_what_may_have_been_thinking() -> None:
    call = chunk({"tool_calls": [{"index": 0}]})

    passed = filtered(chunk({"content": "I look"}) + call + DONE, is_thinking=True)

    assert said(passed) == ("", "I look")
    assert passed.index(b"I look") < passed.index(b"[DONE]")


def test_what_is_held_back_comes_before_the_end() -> None:
    passed = filtered(chunk({"content": "<think>Hm </th"}) + DONE)

    assert said(passed) == ("Hm </th", "")
    assert passed.endswith(DONE)


def test_each_choice_has_its_own_thinking() -> None:
    stream = b"".join(
        (
            chunk({"content": "No"}),
            chunk({"content": "<think>b"}, index=1),
            chunk({"content": " thought"}),
            chunk({"content": "</think>B"}, index=1),
        )
    )

    passed = filtered(stream, is_single=False)

    assert said(passed) == ("", "No thought")
    assert said(passed, index=1) == ("b", "B")


def test_hidden_thinking_is_left_out_and_the_connection_kept_alive() -> None:
    stream = chunk({"reasoning_content": "Hm"}) + stream_of("<think>a</think>", "b")

    passed = filtered(stream, hide=True)

    assert said(passed) == ("", "b")
    assert passed.startswith(b":\n\n")
    assert b"Hm" not in passed


def test_hiding_leaves_the_usage() -> None:
    usage = event_of({"choices": [], "usage": {"completion_tokens": 5}})

    assert filtered(stream_of("a") + usage, hide=True).endswith(usage)


def test_what_is_no_chunk_passes() -> None:
    error = b'data: {"error": {"message": "x"}}\n\n'
    odd = b"data: nonsense\n\n: ping\n\n" + error + b'data: {"choices": [3]}\n\n'

    assert filtered(odd, hide=True, is_thinking=True) == odd
    assert filtered(b"data: half", is_thinking=True) == b"data: half"


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", " ", "\n", "a", "ä", "😀"])
)


@given(st.data(), TEXTS, st.booleans(), st.booleans(), st.booleans())
def test_a_stream_comes_to_the_same_however_it_is_cut(
    data: st.DataObject, texts: list[str], is_thinking: bool, hide: bool, is_single: bool
) -> None:
    stream = stream_of(*texts)
    # As llama-server writes it: UTF-8, which a cut may go through.
    stream = stream.replace(b'"\\u00e4"', '"ä"'.encode())
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=20))
    filter_ = partial(filtered, is_thinking=is_thinking, hide=hide, is_single=is_single)

    assert filter_(stream, cuts) == filter_(stream)


@given(TEXTS, st.booleans())
def test_a_stream_says_what_the_whole_answer_says(texts: list[str], is_thinking: bool) -> None:
    message = whole({"content": "".join(texts)}, is_thinking=is_thinking)

    assert said(filtered(stream_of(*texts), is_thinking=is_thinking)) == (
        message.get("reasoning_content", ""),
        message["content"],
    )


def test_a_whole_answer_is_separated() -> None:
    assert whole({"content": "<think>a</think>b"}) == {
        "content": "b",
        "reasoning_content": "a",
    }
    assert whole({"content": "a</think>b"}) == {"content": "a</think>b"}
    assert whole({"content": "a</think>b"}, is_thinking=True)["content"] == "b"


def test_a_whole_answer_without_thinking_keeps_its_bytes() -> None:
    made = make_filter(CHAT_PATH, JSON, is_thinking=True, hide=True)
    assert made is not None
    body = b'{"choices" : [{"message": {"content": "4"}}]}'

    assert made.feed(body[:9]) + made.feed(body[9:]) + made.finish() == body


def test_hidden_thinking_is_left_out_of_a_whole_answer() -> None:
    assert whole({"content": "b", "reasoning_content": "a"}, hide=True) == {"content": "b"}


def test_a_very_large_answer_passes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinking, "MAX_HELD_BYTES", 10)
    body = b'{"choices": [{"message": {"content": "<think>a</think>b"}}]}'
    made = make_filter(CHAT_PATH, JSON, is_thinking=False, hide=False)
    assert made is not None

    assert made.feed(body) == body
    assert filtered(b"data: " + body, {20}) == b"data: " + body


def test_other_answers_are_left_alone() -> None:
    assert make_filter("/v1/messages", STREAM, is_thinking=True, hide=True) is None
    assert make_filter(CHAT_PATH, "text/html", is_thinking=True, hide=True) is None


def test_a_request_can_switch_thinking_off() -> None:
    assert wants_thinking({"chat_template_kwargs": {"enable_thinking": True}})
    assert wants_thinking({"chat_template_kwargs": [], "reasoning_budget": -1})
    assert not wants_thinking({"chat_template_kwargs": {"enable_thinking": False}})
    assert not wants_thinking({"reasoning_effort": "none"})
    assert not wants_thinking({"reasoning_budget": 0})
