"""Who follows a server's log sees each line once, whatever becomes of the file."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from servers_app import logs

ID = 7

Append = Callable[[str], None]


@pytest.fixture
def log(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 100)
    settings.MAGI_DATA_DIR = tmp_path
    path = logs.log_path(ID)
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def append(log: Path) -> Append:
    """Return a function that writes on in the log, as a server does."""

    def write(text: str) -> None:
        with log.open("a", newline="") as file:
            file.write(text)

    return write


def texts(found: list[logs.Line]) -> list[str]:
    return [line.text for line in found]


def test_it_begins_with_the_last_lines_and_goes_on(append: Append) -> None:
    append("a\nb\nc\n")
    follower = logs.Follower(ID, lines=2)

    assert texts(follower.read()) == ["b", "c"]
    assert follower.read() == []
    append("d\n\ne\n")
    assert texts(follower.read()) == ["d", "", "e"]


def test_it_may_begin_with_what_is_new(append: Append) -> None:
    append("a\nb\n")
    follower = logs.Follower(ID, lines=0)

    assert follower.read() == []
    append("c\n")
    assert texts(follower.read()) == ["c"]


def test_it_waits_for_a_log_that_is_not_there_yet(append: Append) -> None:
    follower = logs.Follower(ID, lines=5)

    assert follower.read() == []
    append("first\n")
    assert texts(follower.read()) == ["first"]


def test_a_line_is_shown_when_it_is_whole(append: Append) -> None:
    append("a\nb")
    follower = logs.Follower(ID, lines=5)

    assert texts(follower.read()) == ["a"]
    append("c\nd")
    assert texts(follower.read()) == ["bc"]


def test_a_line_that_is_not_finished_is_shown_after_a_while(append: Append) -> None:
    append("a\nloading")
    follower = logs.Follower(ID, lines=5)
    follower.read()

    assert texts(follower.read()) == ["loading"]
    assert follower.read() == []
    append(" done\nb\n")
    assert texts(follower.read()) == [" done", "b"]


def test_characters_are_whole_though_their_bytes_come_one_by_one(log: Path) -> None:
    log.touch()
    follower = logs.Follower(ID, lines=0)
    follower.read()
    for byte in "ä€\n".encode():
        with log.open("ab") as file:
            file.write(bytes([byte]))

    assert texts(follower.read()) == ["ä€"]


def test_a_line_without_an_end_is_cut(append: Append) -> None:
    follower = logs.Follower(ID, lines=0)
    follower.read()
    append("x" * 100_000)

    (line,) = texts(follower.read())

    assert line == "x" * (logs.MAX_LINE_CHARS - 1) + "…"


def test_nothing_is_lost_or_shown_twice_when_the_log_is_turned_over(append: Append) -> None:
    append("seen " + "x" * 100 + "\n")
    follower = logs.Follower(ID, lines=9)
    assert len(follower.read()) == 1
    append("before\ncut ")

    assert logs.rotate(ID)
    append("off\nafter\n")

    assert texts(follower.read()) == ["before", "cut off", "after"]
    assert follower.read() == []


def test_nothing_is_shown_twice_when_the_log_was_emptied_and_not_kept(append: Append) -> None:
    append("a\n" * 900)
    assert logs.rotate(ID)
    append("b\n" * 90)
    follower = logs.Follower(ID, lines=1)
    assert texts(follower.read()) == ["b"]

    logs.log_path(ID).write_text("")  # as rotate() does when the disk is full
    append("c\n")

    assert texts(follower.read()) == ["c"]


def test_a_log_that_was_removed_and_made_again_is_read_from_its_beginning(
    log: Path, append: Append
) -> None:
    append("a\n")
    follower = logs.Follower(ID, lines=9)
    follower.read()
    log.rename(log.with_name("elsewhere"))  # keeps its inode from being the next one's

    assert follower.read() == []
    append("b\nlonger than before\n")
    assert texts(follower.read()) == ["b", "longer than before"]


def test_who_comes_back_goes_on_where_it_was(append: Append) -> None:
    append("a\nb\nc\n")
    first = logs.Follower(ID, lines=3).read()
    append("d\n")

    found = [texts(logs.Follower(ID, lines=1, position=line.position).read()) for line in first]

    assert found == [["b", "c", "d"], ["c", "d"], ["d"]]


def test_who_comes_back_to_another_log_begins_with_its_last_lines(append: Append) -> None:
    append("a\n" * 90)
    (line,) = logs.Follower(ID, lines=1).read()
    assert logs.rotate(ID)
    append("b\n" * 200)

    found = logs.Follower(ID, lines=2, position=line.position).read()

    assert texts(found) == ["b", "b"]


@pytest.mark.parametrize("position", ["", "-", "0-", "0-9", "0--1", "x", "0-1_0", "1-0", "0-²"])
def test_a_position_that_is_none_is_passed_over(append: Append, position: str) -> None:
    append("a\nb\n")

    assert texts(logs.Follower(ID, lines=1, position=position).read()) == ["b"]


def test_lines_are_yielded_until_somebody_says_stop(append: Append) -> None:
    append("a\nb\n")
    stop = threading.Event()
    lines = logs.follow(ID, 1, stop=stop, poll_s=0.01)

    assert next(lines) == "b"
    threading.Timer(0.05, append, ["c\n"]).start()
    assert next(lines) == "c"
    threading.Timer(0.05, stop.set).start()
    assert list(lines) == []
