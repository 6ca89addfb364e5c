"""The tokens that an answer says it took, whatever its form."""

import json
from typing import Any

import pytest

from servers_app.gateway.tokens import HEAD_BYTES, TAIL_BYTES, TokenCounts, TokenTap

JSON = "application/json"
STREAM = "text/event-stream"
TIMINGS = {
    "cache_n": 7,
    "prompt_n": 5,
    "prompt_ms": 9.5,
    "predicted_n": 3,
    "predicted_ms": 40.1,
}
CHAT_USAGE = {
    "completion_tokens": 3,
    "prompt_tokens": 12,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 7},
}


def counted(content_type: str, *pieces: bytes) -> TokenCounts:
    tap = TokenTap(content_type)
    for piece in pieces:
        tap.feed(piece)
    return tap.counts()


def whole(**members: Any) -> bytes:
    return json.dumps(members).encode()


def event(**members: Any) -> bytes:
    return b"data: " + whole(**members) + b"\n\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            whole(choices=[{"message": {"content": "Hi"}}], usage=CHAT_USAGE, timings=TIMINGS),
            (12, 7, 3),
            id="a chat completion",
        ),
        pytest.param(
            whole(choices=[], usage={"prompt_tokens": 12, "completion_tokens": 3}),
            (12, None, 3),
            id="an upstream without timings and cache",
        ),
        pytest.param(whole(content="Hi", timings=TIMINGS), (12, 7, 3), id="timings alone"),
        pytest.param(
            whole(
                object="list",
                usage={"prompt_tokens": 6, "total_tokens": 6},
                data=[{"embedding": [0.123456789] * 2000}],
            ),
            (6, None, None),
            id="embeddings, whose usage is far from the end",
        ),
        pytest.param(
            whole(
                output=[{"content": "Hi"}],
                usage={
                    "input_tokens": 12,
                    "output_tokens": 3,
                    "input_tokens_details": {"cached_tokens": 7},
                },
            ),
            (12, 7, 3),
            id="a response",
        ),
        pytest.param(
            whole(
                content=[{"type": "text", "text": "Hi"}],
                usage={"cache_read_input_tokens": 7, "input_tokens": 5, "output_tokens": 3},
            ),
            (12, 7, 3),
            id="an Anthropic message, whose input is without the cached",
        ),
    ],
)
def test_an_answer_in_one_piece_says_what_it_took(
    answer: bytes, expected: tuple[int | None, ...]
) -> None:
    assert counted(JSON, answer) == expected


def test_a_stream_without_usage_has_its_timings_in_the_last_chunk() -> None:
    chunks = [event(choices=[{"delta": {"content": f"word {n}"}}]) for n in range(500)]
    last = event(choices=[{"finish_reason": "stop", "delta": {}}], timings=TIMINGS)

    assert counted(STREAM, *chunks, last, b"data: [DONE]\n\n") == (12, 7, 3)


def test_the_last_of_the_timings_that_come_with_each_token_counts() -> None:
    chunks = [event(choices=[], timings={**TIMINGS, "predicted_n": n}) for n in range(1, 4)]

    assert counted(STREAM, *chunks) == (12, 7, 3)


def test_a_stream_that_was_asked_for_usage_has_it_after_null_ones() -> None:
    chunks = [event(choices=[{"delta": {}}], usage=None) for _ in range(3)]

    assert counted(STREAM, *chunks, event(choices=[], usage=CHAT_USAGE)) == (12, 7, 3)


def test_a_stream_of_anthropic_says_the_prompt_first_and_the_answer_last() -> None:
    start = event(
        type="message_start",
        message={
            "usage": {"cache_read_input_tokens": 7, "input_tokens": 5, "output_tokens": 0}
        },
    )
    deltas = [event(type="content_block_delta", delta={"text": "x" * 50}) for _ in range(500)]
    end = event(type="message_delta", usage={"output_tokens": 3})

    assert counted(STREAM, start, *deltas, end) == (12, 7, 3)


def test_a_stream_of_responses_has_its_usage_in_the_last_event() -> None:
    done = event(
        type="response.completed",
        response={"output": [], "usage": {"input_tokens": 12, "output_tokens": 3}},
    )

    assert counted(STREAM, event(type="response.created"), done) == (12, None, 3)


def test_pieces_may_break_anywhere() -> None:
    answer = whole(choices=[{"message": {"content": "é" * 9000}}], usage=CHAT_USAGE)

    pieces = [answer[at : at + 7] for at in range(0, len(answer), 7)]

    assert counted(JSON, *pieces) == (12, 7, 3)


def test_a_model_that_writes_usage_is_not_believed() -> None:
    text = '{"usage": {"prompt_tokens": 999, "output_tokens": 1}, "timings": {"cache_n": 1}}'

    chunks = event(choices=[{"delta": {"content": text}}])

    assert counted(STREAM, chunks) == (None, None, None)
    assert counted(STREAM, event(choices=[], timings=TIMINGS), chunks) == (12, 7, 3)


@pytest.mark.parametrize("value", [-1, 2**31, True, "12", 1.5, None, [1]])
def test_what_is_no_count_is_left_out(value: object) -> None:
    answer = whole(usage={"prompt_tokens": value, "completion_tokens": 3})

    assert counted(JSON, answer) == (None, None, 3)


@pytest.mark.parametrize(
    "answer",
    [b"", b'{"usage": {"prompt_tokens": 12', b'{"usage": {' + b"[" * 5000, b"\xff\xfe"],
)
def test_an_answer_that_was_cut_off_says_nothing(answer: bytes) -> None:
    assert counted(JSON, answer) == (None, None, None)


def test_an_answer_that_is_not_json_is_not_listened_to() -> None:
    assert counted("audio/wav", whole(usage=CHAT_USAGE)) == (None, None, None)


def test_a_long_answer_is_not_held() -> None:
    tap = TokenTap(STREAM)

    for _ in range(1000):
        tap.feed(b"x" * 1000)
    tap.feed(b"y" * 2**20)
    tap.feed(b"z" * 10)

    held = len(tap._head) + len(tap._tail)
    assert held <= HEAD_BYTES + 2 * TAIL_BYTES
