"""The request log: what is written of a request, the sums, labels, and what is pruned."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from models_app import retention
from models_app.models import Tier
from servers_app import requests
from servers_app.gateway import records, writer
from servers_app.gateway.records import MAX_PROMPT_BYTES, record
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.writer import CONTROL
from servers_app.request_models import RequestOutcome, RequestRecord, UsageMinute
from tests.conftest import MakeServer

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
numbers = itertools.count()


def over(*, at: datetime = NOON, **facts: Any) -> Trace:
    """Return the trace of a request that is over."""
    values: dict[str, Any] = {
        "request_id": f"request-{next(numbers)}",
        "path": "/v1/chat/completions",
        "started_at": at.timestamp(),
        "key": "k1",
        "asked": "auto",
        "model_id": "qwen",
        "tier": "fast",
        "first_byte_s": 0.0123456,
        "total_s": 0.4,
        "status": 200,
        "outcome": Outcome.OK,
        "prompt_tokens": 12,
        "cached_tokens": 7,
        "completion_tokens": 3,
        **facts,
    }
    return Trace(**values)


def sums() -> list[tuple[object, ...]]:
    return list(
        UsageMinute.objects.values_list(
            "minute__minute", "model_id", "requests", "failures", "prompt_tokens"
        )
    )


# -- what is written


@pytest.mark.parametrize(("told", "kept"), [(-1, 0), (2**40, 2**31 - 1)])
def test_a_server_that_cannot_count_keeps_nobodys_request_from_being_written(
    told: int, kept: int
) -> None:
    record([over(prompt_tokens=told, cached_tokens=told, completion_tokens=told), over()])

    counts = RequestRecord.objects.values_list("prompt_tokens", "completion_tokens")
    assert set(counts) == {(kept, kept), (12, 3)}


def test_everything_that_is_known_of_a_request_is_written(make_server: MakeServer) -> None:
    server = make_server(node="attic")
    trace = over(
        server_id=server.pk,
        score=3.5,
        factors={"code": 1.23456, "length": 0.5},
        scored_by="heuristic",
        is_stream=True,
        queued_s=0.25,
        error_code="",
    )

    record([trace])

    row = RequestRecord.objects.get()
    assert (row.request_id, row.at, row.key) == (trace.request_id, NOON, "k1")
    assert (row.path, row.asked) == ("/v1/chat/completions", "auto")
    assert (row.model_id, row.server_id, row.node) == ("qwen", server.pk, "attic")
    assert (row.tier, row.score, row.scored_by) == ("fast", 3.5, "heuristic")
    assert row.factors == {"code": 1.235, "length": 0.5}
    assert (row.queued_ms, row.first_byte_ms, row.total_ms) == (250, 12.346, 400)
    assert (row.status, row.outcome, row.is_stream) == (200, RequestOutcome.OK, True)
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (12, 7, 3)
    assert (row.label, row.prompt, row.error_code) == ("", "", "")
    row.full_clean()


def test_a_request_that_no_server_answered_is_written() -> None:
    record(
        [
            Trace(
                "r",
                "/v1/nowhere",
                outcome=Outcome.REFUSED,
                status=404,
                error_code="unknown_url",
            )
        ]
    )

    row = RequestRecord.objects.get()
    assert (row.model_id, row.server_id, row.node, row.first_byte_ms) == ("", None, "", None)
    assert (row.outcome, row.error_code) == ("refused", "unknown_url")


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud800", "x" * 5000, "\x1b[31mred", "日本" * 300, "'; DROP TABLE x; --"]
)
def test_whatever_a_client_names_does_not_keep_a_batch_from_being_written(
    settings: Settings, text: str
) -> None:
    settings.MAGI_KEEP_PROMPTS = True

    record([over(asked=text, path=f"/v1/{text}", prompt=text, factors={"x": float("nan")})])

    row = RequestRecord.objects.get()
    assert row.asked.isprintable()
    assert len(row.asked) <= 200
    assert row.factors == {}


def test_the_models_outcomes_are_those_of_the_gateway() -> None:
    assert [*RequestOutcome.values] == [outcome.value for outcome in Outcome]
    for outcome in Outcome:
        record([over(outcome=outcome)])


def test_a_batch_costs_as_many_queries_as_one_request(
    django_assert_max_num_queries: DjangoAssertNumQueries, make_server: MakeServer
) -> None:
    pk = make_server().pk

    with django_assert_max_num_queries(6):  # two of them are the transaction's
        record([over(server_id=pk) for _ in range(200)])


@pytest.mark.django_db(transaction=True)
def test_the_gateway_writes_in_a_thread_of_its_own() -> None:
    async def write() -> None:
        await CONTROL.record([over(), over()])

    asyncio.run(write())

    assert RequestRecord.objects.count() == 2
    writer._recorder.submit(connections.close_all).result()


# -- prompts


def test_no_prompt_is_kept_unless_a_person_turns_that_on(settings: Settings) -> None:
    assert settings.MAGI_KEEP_PROMPTS is False

    record([over(prompt="my secret")])
    settings.MAGI_KEEP_PROMPTS = True
    record([over(prompt="my question")])

    assert [*RequestRecord.objects.order_by("pk").values_list("prompt", flat=True)] == [
        "",
        "my question",
    ]


def test_no_more_than_the_start_of_a_prompt_is_kept(settings: Settings) -> None:
    settings.MAGI_KEEP_PROMPTS = True

    record([over(prompt="日" * MAX_PROMPT_BYTES)])

    prompt = RequestRecord.objects.get().prompt
    assert prompt == "日" * (MAX_PROMPT_BYTES // 3)


# -- sums


def test_requests_are_added_up_by_minute_model_key_and_tier() -> None:
    later = NOON + timedelta(seconds=61)
    record([over(), over(outcome=Outcome.BROKEN), over(model_id="gemma"), over(at=later)])
    record([over(at=NOON + timedelta(seconds=59)), over(key="k2"), over(tier="")])

    assert sorted(sums(), key=repr) == sorted(
        [
            (0, "qwen", 3, 1, 36),
            (0, "gemma", 1, 0, 12),
            (1, "qwen", 1, 0, 12),
            (0, "qwen", 1, 0, 12),
            (0, "qwen", 1, 0, 12),
        ],
        key=repr,
    )


def test_a_request_without_figures_counts_as_a_request() -> None:
    record([over(), over(first_byte_s=None, prompt_tokens=None, outcome=Outcome.FAILED)])

    minute = UsageMinute.objects.get()
    assert (minute.requests, minute.failures, minute.answered) == (2, 1, 1)
    assert (minute.prompt_tokens, minute.cached_tokens, minute.completion_tokens) == (12, 14, 6)
    assert minute.first_byte_ms == pytest.approx(12.346)
    assert minute.total_ms == 800


def test_a_batch_that_is_tried_again_counts_once() -> None:
    batch = [over(), over()]
    record(batch)

    record([*batch, over()])

    assert RequestRecord.objects.count() == 3
    assert sums() == [(0, "qwen", 3, 0, 36)]


def test_two_requests_that_a_client_named_the_same_are_two() -> None:
    record([over(request_id="mine"), over(request_id="mine", at=NOON + timedelta(seconds=1))])

    assert RequestRecord.objects.filter(request_id="mine").count() == 2


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param({"status": None}, id="nothing where something must be"),
        pytest.param({"status": 2**70}, id="a number that no column holds"),
    ],
)
def test_one_that_the_database_refuses_keeps_no_other_from_being_written(
    unfit: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    record([over(), over(), over(request_id="unfit", **unfit), over(), over()])

    assert RequestRecord.objects.count() == 4
    assert not RequestRecord.objects.filter(request_id="unfit").exists()
    (of_noon,) = sums()
    assert of_noon[2] == 4
    # psycopg, too, warns of a pipeline with an error in it, by how fast the server answers.
    (message,) = (each.getMessage() for each in caplog.records if each.name == records.__name__)
    assert message.startswith("Request unfit cannot be written down: ")


def test_what_a_database_that_is_away_did_not_take_is_left_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_traces: object) -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(records, "_add_to_sums", away)
        with pytest.raises(OperationalError):
            record([over(), over()])

    assert not RequestRecord.objects.exists()
    assert not UsageMinute.objects.exists()


# -- labels


def test_labelled_prompts_are_examples_the_newest_first(settings: Settings) -> None:
    settings.MAGI_KEEP_PROMPTS = True
    record([over(prompt="old"), over(at=NOON + timedelta(hours=1), prompt="new"), over()])
    record([over(prompt="not labelled")])
    labelled = RequestRecord.objects.exclude(prompt="not labelled")

    assert requests.relabel(labelled, Tier.POWERFUL) == 3
    assert list(requests.labelled_examples()) == [
        ("new", Tier.POWERFUL),
        ("old", Tier.POWERFUL),
    ]

    requests.relabel(labelled, None)
    assert list(requests.labelled_examples()) == []


def test_the_database_takes_no_label_that_is_no_tier() -> None:
    record([over()])

    with pytest.raises(IntegrityError):
        RequestRecord.objects.update(label="slow")


# -- for how long


def test_old_records_go_in_pieces_and_their_sums_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    settings.MAGI_REQUEST_LOG_DAYS = 30
    now = timezone.now()
    record([over(at=now - timedelta(days=31, seconds=n)) for n in range(5)])
    record([over(request_id="young", at=now - timedelta(days=29))])

    assert requests.prune() == 5
    assert RequestRecord.objects.get().request_id == "young"
    assert sum(minute.requests for minute in UsageMinute.objects.all()) == 6
    assert requests.prune() == 0


def test_what_somebody_has_labelled_is_not_pruned() -> None:
    record(
        [
            over(request_id="labelled", at=NOON - timedelta(days=99)),
            over(at=NOON - timedelta(days=99)),
        ]
    )
    requests.relabel(RequestRecord.objects.filter(request_id="labelled"), Tier.FAST)

    requests.prune()

    assert RequestRecord.objects.get().request_id == "labelled"


def test_with_no_days_only_sums_are_kept(settings: Settings) -> None:
    record([over(at=timezone.now() - timedelta(seconds=1))])
    settings.MAGI_REQUEST_LOG_DAYS = 0

    record([over()])

    assert RequestRecord.objects.count() == 1
    assert sum(minute.requests for minute in UsageMinute.objects.all()) == 2
    assert requests.prune() == 1


def test_only_the_newest_rows_are_kept_and_those_with_a_label(settings: Settings) -> None:
    settings.MAGI_REQUEST_LOG_ROWS = 3
    now = timezone.now()
    record([over(request_id=f"r{n}", at=now - timedelta(minutes=n)) for n in range(6)])
    requests.relabel(RequestRecord.objects.filter(request_id="r5"), Tier.FAST)

    assert requests.count_due(now) == 3
    assert requests.prune() == 3
    assert set(RequestRecord.objects.values_list("request_id", flat=True)) == {"r0", "r1", "r5"}

    settings.MAGI_REQUEST_LOG_ROWS = 0
    assert (requests.count_due(now), requests.prune()) == (0, 0)
