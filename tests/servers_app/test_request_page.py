"""The page of a request: its error in a sentence, its times, and how it was decided."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from servers_app.gateway.errors import GatewayError
from servers_app.gateway.queueing import QueueFullError
from servers_app.request_errors import BY_CODE, explained
from servers_app.request_models import RequestOutcome, RequestRecord
from servers_app.request_page import WIDTH, shown, spans_of


def record(**fields: Any) -> RequestRecord:
    return RequestRecord(at=timezone.now(), **{"outcome": "ok", **fields})


def subclasses(base: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


def test_each_code_of_the_gateway_is_explained() -> None:
    assert QueueFullError in set(subclasses(GatewayError))  # its modules are loaded

    # What magi_site refuses never comes to the gateway, and stands in no log.
    ours = (
        one for one in subclasses(GatewayError) if one.__module__.startswith("servers_app.")
    )
    codes = {one.code for one in ours if one.code}

    assert codes - BY_CODE.keys() == set()


@pytest.mark.parametrize("outcome", [each for each in RequestOutcome if each != "ok"])
def test_what_has_no_code_is_explained_by_how_it_ended(outcome: str) -> None:
    said = explained(record(outcome=outcome))

    assert said is not None
    assert said.what.endswith(".")
    assert said.next.endswith(".")


def test_an_answer_is_no_error() -> None:
    assert explained(record()) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [("upstream_error", "in the middle"), ("upstream_timeout", "said nothing")],
)
def test_an_answer_that_broke_off_says_how(code: str, said: str) -> None:
    broken = explained(record(outcome="broken", error_code=code))

    assert broken is not None
    assert said in broken.what


def test_the_times_make_up_the_whole() -> None:
    spans = spans_of(record(queued_ms=100, first_byte_ms=300, total_ms=1000))

    assert [(span.x, span.width) for span in spans] == [
        (0, WIDTH * 0.1),
        (WIDTH * 0.1, WIDTH * 0.2),
        (WIDTH * 0.3, WIDTH * 0.7),
    ]
    assert [span.length for span in spans] == ["100 ms", "200 ms", "700 ms"]


def test_a_short_time_can_be_seen_and_none_leaves_the_picture() -> None:
    spans = spans_of(record(queued_ms=0.1, first_byte_ms=9999.9, total_ms=10000))

    assert all(span.width >= 2 for span in spans)
    assert all(span.x + span.width <= WIDTH for span in spans)


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        pytest.param({"total_ms": 0}, [], id="no time was taken"),
        pytest.param({"total_ms": 5}, ["no byte came"], id="nothing came back"),
        pytest.param(
            {"total_ms": 5, "queued_ms": 9, "first_byte_ms": 1},
            ["waited for a slot"],
            id="times that do not fit together",
        ),
    ],
)
def test_what_is_odd_is_drawn_as_far_as_it_goes(
    fields: dict[str, float], labels: list[str]
) -> None:
    assert [span.label for span in spans_of(record(**fields))] == labels


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"asked": "auto", "score": 8.9, "tier": "powerful"}, "8.9 of 10: that is Powerful."),
        ({"asked": "auto", "score": 8.9, "tier": "fast"}, "Fast was taken, the nearest"),
        ({"asked": "auto", "score": 8.9}, "No model was found"),
        ({"asked": "fast", "tier": "fast"}, "named the tier Fast itself"),
        ({"asked": "qwen", "model_id": "qwen"}, "named the model itself"),
        ({"asked": "gpt-9"}, "“gpt-9”"),
        ({"asked": "two-stage"}, "a draft by one model"),
        ({}, "It named no model."),
    ],
)
def test_it_is_said_how_the_choice_came_about(fields: dict[str, Any], said: str) -> None:
    one = record(request_id="a", path="/v1", **fields)
    one.save()

    assert said in shown(one, AnonymousUser())["decided"]
