"""The health on the dashboard: as it was of late, and no page waits for it."""

import time
from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace

import pytest

from magi_site.dashboard import checkup
from magi_site.dashboard.checkup import health_seen
from magi_site.operations.component import Component, Health


class Looks:
    """Looks at one part; each takes until it may end."""

    def __init__(self) -> None:
        self.may_end = Event()
        self.begun = 0

    def parts(self) -> dict[str, Component]:
        self.begun += 1
        assert self.may_end.wait(60)
        names = ("database", "queue", "nodes")
        return {name: Component(Health.HEALTHY, f"look {self.begun}") for name in names}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    looks = Looks()
    monkeypatch.setattr(checkup, "Checkup", lambda: SimpleNamespace(parts=looks.parts))
    monkeypatch.setattr(checkup, "WAIT_S", 0.01)
    fresh = type("Fresh", (), {"seen": None, "seen_at": float("-inf")})
    monkeypatch.setattr(checkup, "_Process", fresh)
    yield looks
    looks.may_end.set()
    while health_seen() is None:
        time.sleep(0.01)


def seen_in_the_end() -> str:
    while (seen := health_seen()) is None:
        time.sleep(0.01)
    return seen.parts["queue"].detail


def test_a_part_that_hangs_keeps_no_page_waiting(looks: Looks) -> None:
    assert health_seen() is None
    assert health_seen() is None

    looks.may_end.set()

    assert seen_in_the_end() == "look 1"


def test_what_was_seen_of_late_is_not_looked_at_again(looks: Looks) -> None:
    looks.may_end.set()
    seen_in_the_end()

    assert seen_in_the_end() == "look 1"
    assert looks.begun == 1


def test_while_it_is_looked_at_again_the_last_look_is_shown(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks.may_end.set()
    seen_in_the_end()
    looks.may_end.clear()
    monkeypatch.setattr(checkup, "KEPT_S", 0.0)

    assert seen_in_the_end() == "look 1"
    while looks.begun < 2:
        health_seen()
