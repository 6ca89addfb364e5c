"""Minutes that become days: no figure changes, however often and by how many it is done."""

from collections.abc import Callable
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from models_app import retention
from servers_app import usage
from servers_app.old_rows import roll_up_usage
from servers_app.request_models import UsageDay, UsageMinute
from servers_app.usage import FIELDS, By, Sums, days_of_model, rows_of, usage_of
from tests.at_once import at_once

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 30, 15, tzinfo=UTC)
ZONES = ("UTC", "Pacific/Auckland", "America/St_Johns")

minutes = st.lists(
    st.tuples(
        st.integers(0, 400 * 24 * 60),  # ago
        st.sampled_from(["qwen", "gemma", ""]),
        st.sampled_from(["k1", "k2"]),
        st.sampled_from(["fast", ""]),
        st.integers(0, 10**6),
    ),
    max_size=60,
    unique_by=lambda each: each[:4],
)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def write(each: tuple[int, str, str, str, int]) -> UsageMinute:
    ago, model_id, key, tier, n = each
    minute = NOW.replace(second=0, microsecond=0) - timedelta(minutes=ago)
    return UsageMinute(
        minute=minute, model_id=model_id, key=key, tier=tier, requests=n + 1, failures=n % 7,
        prompt_tokens=n, cached_tokens=n // 2, completion_tokens=3 * n, answered=n,
        first_byte_ms=n / 8, total_ms=n / 4,
    )  # fmt: skip


def shown() -> list[Any]:
    """Return all that pages, the CSV and the API read."""
    found: list[Any] = [days_of_model("qwen", days) for days in usage.DAYS]
    for days in usage.DAYS:
        for by in By:
            found += [usage_of(days, by), list(rows_of(days, by))]
    return found


def totals() -> dict[str, float]:
    sums = [table.objects.aggregate(*map(Sum, FIELDS)) for table in (UsageMinute, UsageDay)]
    return {key: sum(each[key] or 0 for each in sums) for key in sums[0]}


@examples(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=minutes, zone=st.sampled_from(ZONES), days=st.sampled_from([90, 91, 200]))
def test_no_figure_changes_by_a_roll_up(
    settings: Settings, written: list[tuple[int, str, str, str, int]], zone: str, days: int
) -> None:
    UsageMinute.objects.all().delete()
    UsageDay.objects.all().delete()
    UsageMinute.objects.bulk_create(map(write, written))
    settings.TIME_ZONE = zone
    settings.MAGI_USAGE_MINUTE_DAYS = days
    before, sums_before = shown(), totals()

    rolled = roll_up_usage(NOW)

    assert shown() == before  # all of it, times too: these are sums of eighths
    assert totals() == sums_before
    assert rolled == len(written) - UsageMinute.objects.count()
    assert roll_up_usage(NOW) == 0


def test_days_are_whole(settings: Settings) -> None:
    """What a page shows by day has its minutes still."""
    midnight = datetime(2026, 8, 22, tzinfo=UTC)  # 90 days before, and 12 hours
    UsageMinute.objects.create(minute=midnight)
    UsageMinute.objects.create(minute=midnight - timedelta(minutes=1), requests=3)

    assert roll_up_usage(NOW) == 1
    day = UsageDay.objects.get()
    assert (day.day, day.requests) == (datetime(2026, 8, 21, tzinfo=UTC).date(), 3)


def test_minutes_that_come_late_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    long_ago = NOW.replace(second=0, microsecond=0) - timedelta(days=200)
    for round_ in range(3):
        for n in range(5):
            UsageMinute.objects.create(minute=long_ago + timedelta(minutes=n), requests=round_)
        assert roll_up_usage(NOW) == 5

    assert UsageDay.objects.get().requests == 15


def test_whoever_is_stopped_in_the_middle_has_counted_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    UsageMinute.objects.bulk_create(
        write((200 * 1440 + n, "qwen", "k1", "fast", n)) for n in range(7)
    )
    before = totals()
    add_to, calls = retention.add_to, []

    def add_and_fail(*args: Any) -> None:
        add_to(*args)
        calls.append(args)
        if len(calls) == 2:
            raise DatabaseError

    monkeypatch.setattr(retention, "add_to", add_and_fail)
    with pytest.raises(DatabaseError):
        roll_up_usage(NOW)

    assert UsageMinute.objects.count() == 5
    assert totals() == before
    assert roll_up_usage(NOW) == 5
    assert totals() == before


@pytest.mark.django_db(transaction=True)
def test_two_at_once_count_each_minute_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 7)
    UsageMinute.objects.bulk_create(
        write((200 * 1440 + n, f"m{n % 3}", "k1", "fast", n)) for n in range(150)
    )
    before = totals()
    calls: list[Callable[[], int]] = [lambda: roll_up_usage(NOW)] * 4

    rolled = sum(at_once(calls))

    assert rolled + roll_up_usage(NOW) == 150
    assert totals() == before
    assert not UsageMinute.objects.exists()


def test_the_year_is_shown_by_month(settings: Settings) -> None:
    UsageMinute.objects.bulk_create(
        write((ago * 1440, "qwen", "k1", "fast", 0)) for ago in range(0, 400, 10)
    )
    roll_up_usage(NOW)

    year = usage_of(365, By.MODEL)

    assert len(year.stretches) == 13
    assert year.stretches[0].start == datetime(2025, 11, 1, tzinfo=UTC)
    assert year.stretches[-1].end == datetime(2026, 12, 1, tzinfo=UTC)
    assert year.total.requests == 39  # since 1 November of the year before
    assert sum((part["qwen"] for part in year.parts if part), Sums()).requests == 39
    assert all(astuple(line.sums)[0] == 39 for line in year.by_model)
