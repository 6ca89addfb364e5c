"""The newest events in memory, against a plain list of all of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magi_site.event_log import Entry, EventLog, frame
from models_app.events import SCAN
from tests.magi_site.listening import numbers_of, parse_events


def entry(number: int) -> Entry:
    return Entry(f"{number}-0", frame(SCAN, f'{{"number": {number}}}', f"{number}-0"))


def log_of(numbers: range, *, max_entries: int) -> EventLog:
    log = EventLog(max_entries)
    for number in numbers:
        log.append(entry(number))
    return log


@given(
    appended=st.integers(1, 30),
    max_entries=st.integers(1, 20),
    seen=st.integers(1, 30),
    at_once=st.integers(1, 7),
)
def test_who_reads_on_from_any_event_gets_all_that_is_left_in_order(
    appended: int, max_entries: int, seen: int, at_once: int
) -> None:
    log = log_of(range(1, appended + 1), max_entries=max_entries)
    kept = [*range(1, appended + 1)][-max_entries:]

    place = log.place_after(f"{seen}-0")

    assert (place is not None) == (seen in kept)
    if place is None:
        return
    read: list[int | None] = []
    while place < log.end:
        piece, place = log.read(place, at_once)
        read += numbers_of(piece.decode())
    assert read == [number for number in kept if number > seen]


@given(older=st.integers(0, 9), max_entries=st.integers(1, 12))
def test_what_was_before_is_put_in_front(older: int, max_entries: int) -> None:
    log = log_of(range(10, 15), max_entries=max_entries)
    place = log.end

    log.prepend(entry(number) for number in range(10 - older, 10))

    kept = [*range(10 - older, 15)][-max_entries:] if max_entries >= 5 else log_numbers(log)
    assert log_numbers(log) == kept
    assert log.end == place
    assert log.oldest_id == f"{kept[0]}-0"


def log_numbers(log: EventLog) -> list[int | None]:
    numbers = [number for number in range(30) if log.place_after(f"{number}-0") is not None]
    return [*numbers]


def test_who_is_behind_the_list_is_told_how_many_are_missing() -> None:
    log = log_of(range(1, 11), max_entries=4)

    piece, place = log.read(2, 2)

    events: list[tuple[str, Any]] = parse_events(piece.decode())
    assert [kind for kind, _ in events] == ["lost", "scan", "scan"]
    assert events[0][1]["count"] == 4
    assert numbers_of(piece.decode()) == [None, 7, 8]
    assert b"id: 6-0\nevent: lost" in piece  # nothing is missing from there on
    assert place == 8


def test_an_id_that_comes_a_second_time_is_the_newer_one() -> None:
    """A Redis that was emptied counts from the start in each millisecond."""
    log = log_of(range(1, 4), max_entries=3)

    log.append(entry(1))
    log.append(entry(4))
    log.append(entry(5))

    assert log.place_after("1-0") == log.end - 2
    assert log.place_after("3-0") is None


@pytest.mark.parametrize("place", [0, 5])
def test_where_nothing_is_nothing_is_read(place: int) -> None:
    log = log_of(range(place), max_entries=5)

    assert log.read(place, 9) == (b"", place)
