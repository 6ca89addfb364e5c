"""By which clock rows are old: one that is set wrong, or right, deletes nothing too early."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app import clock
from models_app.clock import believed_now

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

Pass = Callable[[timedelta], None]


class Machine:
    """A machine whose clock is set, and which is started anew."""

    def __init__(self) -> None:
        self.now = NOON
        self.uptime = timedelta(hours=100)
        self.boot = "first"

    def uptime_s(self) -> float:
        return self.uptime.total_seconds()

    def passes(self, time: timedelta) -> None:
        self.now += time
        self.uptime += time

    def is_off_for(self, time: timedelta) -> None:
        self.now += time
        self.uptime = timedelta(seconds=30)
        self.boot += "'"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> Machine:
    settings.MAGI_RUN_DIR = tmp_path / "run"
    machine = Machine()
    monkeypatch.setattr(timezone, "now", lambda: machine.now)
    monkeypatch.setattr(clock, "uptime_s", machine.uptime_s)
    monkeypatch.setattr(clock, "boot_id", lambda: machine.boot)
    monkeypatch.setattr(clock, "database_now", lambda: machine.now)
    return machine


def test_a_clock_that_nobody_sets_is_believed(machine: Machine) -> None:
    for _ in range(50):
        assert believed_now() == machine.now
        machine.passes(HOUR)


def test_after_a_jump_forward_it_is_as_late_as_it_was(machine: Machine) -> None:
    believed_now()
    machine.passes(HOUR)
    machine.now += 40 * DAY

    assert believed_now() == NOON + HOUR
    machine.passes(5 * HOUR)
    assert believed_now() == NOON + 6 * HOUR


def test_a_clock_that_is_set_back_again_is_believed_at_once(machine: Machine) -> None:
    believed_now()
    machine.now += 40 * DAY
    believed_now()
    machine.now -= 40 * DAY
    machine.passes(HOUR)

    assert believed_now() == machine.now


def test_a_clock_that_has_held_for_a_day_is_believed(machine: Machine) -> None:
    """It was wrong before, and is right now."""
    believed_now()
    machine.now += 40 * DAY
    for _ in range(24):
        assert believed_now() < NOON + DAY + HOUR
        machine.passes(HOUR)

    assert believed_now() == machine.now


def test_a_clock_that_goes_on_jumping_is_never_believed(machine: Machine) -> None:
    believed_now()
    for _ in range(40):
        machine.now += DAY
        machine.passes(HOUR)
        believed = believed_now()

    assert believed == NOON + 40 * HOUR


def test_a_clock_that_is_set_back_is_believed(machine: Machine) -> None:
    believed_now()
    machine.now -= DAY

    assert believed_now() == NOON - DAY


def test_a_machine_that_was_off_for_a_night_is_believed(machine: Machine) -> None:
    believed_now()
    machine.is_off_for(12 * HOUR)

    assert believed_now() == machine.now


def test_one_that_was_off_for_weeks_deletes_nothing_for_a_day(machine: Machine) -> None:
    """Or its clock is wrong: nobody can tell the one from the other."""
    believed_now()
    machine.is_off_for(30 * DAY)
    for _ in range(24):
        assert believed_now() <= NOON + DAY
        machine.passes(HOUR)

    assert believed_now() == machine.now


def test_the_databases_clock_counts_where_it_is_behind(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "database_now", lambda: NOON - 3 * DAY)

    assert believed_now() == NOON - 3 * DAY


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1, "other": 2}'])
def test_a_note_that_is_not_whole_is_as_none(
    machine: Machine, settings: Settings, text: str
) -> None:
    note = Path(settings.MAGI_RUN_DIR) / "clock.json"
    note.parent.mkdir()
    note.write_text(text)

    assert believed_now() == NOON
    machine.now += DAY
    assert believed_now() == NOON


def test_without_a_place_for_the_note_rows_are_judged_by_the_clock(
    machine: Machine, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.MAGI_RUN_DIR = tmp_path / "file"

    assert believed_now() == NOON


@pytest.mark.django_db
def test_the_databases_clock_tells_a_time() -> None:
    assert abs(clock.database_now() - timezone.now()) < HOUR
