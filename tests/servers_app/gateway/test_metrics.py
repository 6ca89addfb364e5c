"""What the requests of a process come to; no client chooses what a series is called."""

import json

import aiohttp
import pytest

from servers_app.gateway import metrics
from servers_app.gateway.app import Gateway
from servers_app.gateway.breaker import BreakerState, State
from servers_app.gateway.errors import ModelNotFoundError
from servers_app.gateway.gauges import Gauges, gauges_of
from servers_app.gateway.metrics import NONE, OTHER, Counts, Labels, RequestMetrics
from servers_app.gateway.queueing import QueueFullError
from servers_app.gateway.routes import Route, RoutingTable
from servers_app.gateway.trace import Outcome, Trace
from tests.servers_app.gateway.conftest import (
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
    serving_gateway,
)

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://127.0.0.1:1"


class Tables:
    """Those of the gateway, of one table."""

    def __init__(self, *routes: Route) -> None:
        self.current: RoutingTable = make_table(*routes)

    async def refresh_if_old(self) -> None:
        pass

    async def refresh_from_now(self) -> None:
        pass


def over(asked: str = "", **fields: object) -> Trace:
    trace = Trace("request-1", CHAT, asked=asked)
    for name, value in fields.items():
        setattr(trace, name, value)
    return trace


def test_a_request_counts_for_the_model_that_answered() -> None:
    counted = RequestMetrics(Tables())

    for _ in range(2):
        counted.done(
            over(
                "auto",
                model_id="qwen",
                tier="fast",
                outcome=Outcome.OK,
                first_byte_s=0.2,
                total_s=3.0,
                queued_s=0.0,
                prompt_tokens=10,
                cached_tokens=4,
                completion_tokens=7,
                retries=1,
            )
        )

    ((labels, series),) = counted.counts.series.items()
    assert labels == Labels("qwen", "fast", "ok")
    assert (series.requests, series.prompt, series.cached, series.completion) == (2, 20, 8, 14)
    assert series.first.counts[metrics.BOUNDS.index(0.25)] == 2
    assert series.total.counts[metrics.BOUNDS.index(5.0)] == 2
    assert series.total.sum_s == pytest.approx(6.0)
    assert counted.counts.retries == {"qwen": 2}


def test_a_request_that_took_longer_than_all_bounds_is_above_them() -> None:
    counted = RequestMetrics(Tables())

    counted.done(over(total_s=601.0))

    (series,) = counted.counts.series.values()
    assert series.total.counts == [0] * len(metrics.BOUNDS) + [1]


def test_a_model_of_ours_that_did_not_answer_is_named_and_so_is_one_by_its_alias() -> None:
    route = make_route("qwen", make_replica(ELSEWHERE))
    counted = RequestMetrics(Tables(route))

    counted.done(over("qwen", outcome=Outcome.FAILED))
    counted.done(over("fast", outcome=Outcome.FAILED))

    assert [*counted.counts.series] == [
        Labels("qwen", "fast", "failed"),
        Labels(NONE, "fast", "failed"),
    ]


@pytest.mark.parametrize(
    "name",
    ['x"} 1\nmagi_up 1', "qwen\0", "é" * 500, "task:coding", "current", "", "(other)", "auto"],
)
def test_what_a_client_makes_up_is_in_no_series(name: str) -> None:
    counted = RequestMetrics(Tables(make_route("qwen")))

    for number in range(50):
        counted.done(over(f"{name}{number}", outcome=Outcome.REFUSED))
        counted.done(over(name, outcome=Outcome.REFUSED))

    assert [*counted.counts.series] == [Labels(NONE, NONE, "refused")]


def test_models_that_come_and_go_make_no_more_series_than_there_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "MAX_SERIES", 3)
    counted = RequestMetrics(Tables())

    for number in range(9):
        counted.done(over(model_id=f"model-{number}", outcome=Outcome.OK))

    assert len(counted.counts.series) == 4
    assert counted.counts.series[Labels(OTHER, NONE, "ok")].requests == 6


def test_errors_count_by_their_code() -> None:
    counted = RequestMetrics(Tables())

    counted.refused(QueueFullError("qwen", 1, 1))
    counted.refused(ModelNotFoundError("made-up", []))
    counted.refused(ModelNotFoundError("another", []))

    assert counted.counts.errors == {"queue_full": 1, "model_not_found": 2}


def test_counts_of_two_processes_add_up_and_survive_json() -> None:
    one, other = RequestMetrics(Tables()), RequestMetrics(Tables())
    one.done(over(model_id="qwen", total_s=1.0, prompt_tokens=5, retries=2))
    other.done(over(model_id="qwen", total_s=2.0, prompt_tokens=6))
    other.refused(QueueFullError("qwen", 1, 1))

    sums = Counts.from_json(json.loads(json.dumps(one.counts.as_json())))
    sums.add(Counts.from_json(json.loads(json.dumps(other.counts.as_json()))))

    (series,) = sums.series.values()
    assert (series.requests, series.prompt, series.total.sum_s) == (2, 11, 3.0)
    assert (sums.retries, sums.errors) == ({"qwen": 2}, {"queue_full": 1})


def test_counts_of_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="Format 99"):
        Counts.from_json({**Counts().as_json(), "format": 99})


def test_gauges_are_by_model_and_of_those_in_the_table_alone() -> None:
    replicas = [make_replica(ELSEWHERE, server_id=number) for number in (1, 2)]
    table = make_table(make_route("qwen", *replicas))

    gauges = gauges_of(
        table,
        in_flight={1: 2, 2: 1, 99: 7},
        waited_for={2: 3},
        queued={"qwen": 4, "gone": 5},
        breakers={2: BreakerState(State.OPEN, 5, 1.0)},
    )

    assert gauges == Gauges(
        {"qwen": 3}, {"qwen": 4}, {"qwen": 3}, {("qwen", 1): 0, ("qwen", 2): 2}
    )
    assert Gauges.from_json(json.loads(json.dumps(gauges.as_json()))) == gauges


async def test_the_gateway_counts_what_it_answers_and_whom_it_gave_it_to_in_vain(
    make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    replicas = make_replica(ELSEWHERE, server_id=1), make_replica(upstream.url, server_id=2)
    table = make_table(make_route("qwen", *replicas))

    async def load() -> RoutingTable:
        return table

    gateway = Gateway(load, refresh_seconds=3600)
    await gateway.startup()
    async with serving_gateway(gateway) as url:
        for model in ("qwen", "qwen", "made-up"):
            async with client.post(f"{url}{CHAT}", json={"model": model}) as response:
                await response.read()
    await gateway.shutdown()

    counts = gateway.metrics.counts
    requests = {labels: series.requests for labels, series in counts.series.items()}
    assert requests == {Labels("qwen", "fast", "ok"): 2, Labels(NONE, NONE, "refused"): 1}
    assert counts.errors == {"model_not_found": 1}
    assert counts.retries == {"qwen": 1}
    assert gateway.gauges().in_flight == {"qwen": 0}
