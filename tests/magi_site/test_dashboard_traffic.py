"""The charts of the dashboard: the last hour by the minute, as it was."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site.dashboard import traffic
from magi_site.dashboard.traffic import charts_of_the_hour, speeds
from models_app.charts import Chart, draw
from servers_app.request_models import RequestRecord, UsageMinute

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = NOW.replace(second=0)


def minute(ago: int, **fields: object) -> None:
    UsageMinute.objects.create(minute=MINUTE - timedelta(minutes=ago), **fields)


def request(number: int = 0, *, seconds_ago: float = 60, **fields: object) -> None:
    values: dict[str, object] = {
        "at": NOW - timedelta(seconds=seconds_ago),
        "path": "/v1/chat/completions",
        "outcome": "ok",
        **fields,
    }
    RequestRecord.objects.create(request_id=f"r{number}", **values)


def charts() -> tuple[Chart, Chart, Chart]:
    tokens, requests, first_token = charts_of_the_hour(NOW)
    return tokens, requests, first_token


def test_the_hour_ends_with_the_minute_that_has_begun() -> None:
    tokens, _, _ = charts()

    assert len(tokens.labels) == 60
    assert (tokens.labels[0], tokens.labels[-1]) == ("11:01", "12:00")


def test_tokens_are_by_the_second_and_of_the_current_minute_by_what_has_passed() -> None:
    minute(1, model_id="a", completion_tokens=90)
    minute(1, model_id="b", completion_tokens=30)
    minute(0, completion_tokens=60)
    minute(60, completion_tokens=6000)  # before the hour

    tokens, _, _ = charts()

    assert list(tokens.series[0].values)[-3:] == [0, 2, 2]
    assert tokens.summary == "180 written in the hour"


def test_a_request_is_answered_or_failed_or_neither() -> None:
    minute(5, requests=10, failures=3, answered=6)  # and one was refused
    minute(5, model_id="b", requests=2, failures=1, answered=2)  # one broke off in the middle

    _, requests, _ = charts()

    by_label = {each.label: each.values[-6] for each in requests.series}
    assert by_label == {"answered": 7, "failed": 4, "refused, or left": 1}
    assert requests.summary == "12 in the hour, 4 failed"


def test_a_minute_without_requests_has_none_and_no_time_to_a_first_token() -> None:
    request(is_stream=True, first_byte_ms=200)
    minute(1, requests=1, answered=1)

    _, requests, first_token = charts()

    assert requests.series[0].values[-3] == 0
    assert [each.values[-3] for each in first_token.series] == [None, None]


def test_where_nothing_came_a_chart_says_so() -> None:
    assert all(draw(chart).is_empty for chart in charts())


def test_the_first_token_is_that_of_streamed_answers() -> None:
    for number, ms in enumerate((100, 200, 300, 4000)):
        request(number, is_stream=True, first_byte_ms=ms)
    request(9, is_stream=False, first_byte_ms=60_000)  # which is its whole answer
    request(10, is_stream=True, first_byte_ms=None)

    _, _, first_token = charts()

    assert [each.values[-2] for each in first_token.series] == [0.2, 4.0]
    assert first_token.summary == "0.2 s, p95 4 s"


def test_of_very_many_requests_some_of_the_whole_hour_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(traffic, "SAMPLED", 10)
    RequestRecord.objects.bulk_create(
        RequestRecord(
            request_id=f"r{number}", at=NOW - timedelta(seconds=3500 - number), outcome="ok",
            path="/v1/completions", is_stream=True, first_byte_ms=500,
        )
        for number in range(0, 3500, 25)
    )  # fmt: skip

    with django_assert_max_num_queries(4):
        _, _, first_token = charts()

    known = [index for index, value in enumerate(first_token.series[0].values) if value]
    assert 8 <= len(known) <= 10
    assert known[0] < 10
    assert known[-1] > 50


def test_without_a_request_log_the_mean_of_the_sums_is_shown(settings: Settings) -> None:
    settings.MAGI_REQUEST_LOG_DAYS = 0
    minute(1, requests=2, answered=2, first_byte_ms=3000)

    _, _, first_byte = charts()

    assert first_byte.title == "First byte"
    assert list(first_byte.series[0].values)[-3:] == [None, 1.5, None]


def test_how_fast_a_server_writes_leaves_out_the_wait_for_its_first_token() -> None:
    request(1, server_id=7, is_stream=True, first_byte_ms=1000, total_ms=3000,
            completion_tokens=40)  # fmt: skip
    request(2, server_id=8, queued_ms=500, first_byte_ms=2500, total_ms=2500,
            completion_tokens=40)  # fmt: skip
    request(3, server_id=9, seconds_ago=400, total_ms=1000, completion_tokens=40)

    assert speeds(NOW) == {7: 20, 8: 20}
