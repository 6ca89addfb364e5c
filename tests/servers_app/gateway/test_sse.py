from hypothesis import given
from hypothesis import strategies as st

from servers_app.gateway.sse import Events, data_of, event_of, object_of

STREAM = b"".join(
    (
        b": a comment\n\n",
        b'data: {"a": "\xc3\xa4"}\n\n',
        b"event: stage\r\ndata: 1\r\n\r\n",
        b"data: one\ndata: two\n\n",
        b"data: [DONE]\n\n",
    )
)


@given(st.sets(st.integers(1, len(STREAM) - 1)))
def test_a_stream_has_the_same_events_however_it_is_cut(cuts: set[int]) -> None:
    ends = [*sorted(cuts), len(STREAM)]
    events = Events()

    found = [
        event
        for start, end in zip([0, *ends], ends, strict=False)
        for event in events.feed(STREAM[start:end])
    ]

    assert b"".join(found) == STREAM
    assert [data_of(event) for event in found] == [
        b"", b'{"a": "\xc3\xa4"}', b"1", b"one\ntwo", b"[DONE]",
    ]  # fmt: skip


def test_an_event_without_an_end_waits_and_can_be_taken() -> None:
    events = Events()

    assert events.feed(b"data: 1\n") == []
    assert events.pending_bytes == 8
    assert events.take_rest() == b"data: 1\n"
    assert events.take_rest() == b""


def test_a_value_is_read_back_as_it_was_made_an_event() -> None:
    value = {"text": 'two\nlines, half a pair \ud83d and "quotes"'}

    assert object_of(event_of(value, name="stage")) == value
    assert event_of({}, name="stage") == b"event: stage\ndata: {}\n\n"


def test_what_is_no_object_is_none() -> None:
    assert object_of(b"data: [DONE]\n\n") is None
    assert object_of(b"data: [1]\n\n") is None
    assert object_of(b"data: " + b"[" * 100_000 + b"\n\n") is None
