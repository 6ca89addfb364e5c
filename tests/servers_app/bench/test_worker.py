"""The way of a benchmark: asked for, measured by a worker, cancelled, lost."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from models_app.audit_models import Action, AuditEntry
from models_app.errors import QueueUnavailableError
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, ModelKind
from models_app.worker_end import stopping
from servers_app.bench import service, worker
from servers_app.bench.plan import QUICK, Bound, Plan, plan_of
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.errors import BenchmarkInvalidError, NotLaunchableError
from tests.conftest import MakeModel
from tests.servers_app.bench.conftest import PATIENCE_S, SetMode, processes_of

pytestmark = pytest.mark.django_db(transaction=True)

SMALL = {"contexts": [16, 64], "clients": [1, 2], "repeats": 3, "tokens": 4}


@pytest.fixture
def queued_nodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take the queue's place; return the nodes that were told to measure."""
    nodes: list[str] = []

    def take(args: tuple[str], **_options: Any) -> None:
        nodes.append(args[0])

    monkeypatch.setattr("servers_app.tasks.measure.apply_async", take)
    return nodes


def in_background(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_what_is_asked_for_is_queued_measured_and_kept(
    node: Path, stand_in: SetMode, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    stand_in("serve")
    benchmark = service.request_benchmark(small, who="ada", **SMALL)  # type: ignore[arg-type]
    assert (benchmark.state, queued_nodes) == (BenchmarkState.QUEUED, ["local"])

    worker.work_off("local")

    benchmark.refresh_from_db()
    assert (benchmark.state, benchmark.error) == (BenchmarkState.FINISHED, "")
    assert benchmark.progress == 1.0
    assert benchmark.prompt_tokens_per_s == 500.0
    assert benchmark.generation_tokens_per_s == 100.0
    assert benchmark.started_at is not None
    assert benchmark.finished_at is not None
    measured = [entry["measured"] for entry in benchmark.figures]
    assert measured == [
        "first answer", "depth", "depth", "clients", "clients", "memory", "load", "machine"
    ]  # fmt: skip
    entry = AuditEntry.objects.get(action=Action.BENCHMARK)
    assert (entry.who, entry.target_id) == ("ada", "small")
    assert processes_of(node) == []


def test_a_worker_takes_them_in_the_order_they_were_asked_for(
    node: Path, stand_in: SetMode, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    stand_in("serve")
    for _ in range(2):
        service.request_benchmark(small, contexts=[8], clients=[1], repeats=1, tokens=2)

    worker.work_off("local")

    first, second = Benchmark.objects.order_by("pk")
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


def test_only_one_is_measured_at_a_time(
    node: Path, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    benchmark = service.request_benchmark(small)

    with node_lock(ONE_AT_A_TIME) as held:
        assert held
        worker.work_off("local")  # leaves at once

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.QUEUED


def test_another_nodes_benchmarks_are_left_alone(
    node: Path, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    benchmark = service.request_benchmark(small)

    worker.work_off("elsewhere")

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.QUEUED


@pytest.mark.parametrize("is_wanted", [True, False])
def test_one_whose_worker_has_gone_ends_and_says_so(
    node: Path, small: DiscoveredModel, *, is_wanted: bool
) -> None:
    lost = Benchmark.objects.create(
        model_id="small",
        node="local",
        state=BenchmarkState.RUNNING,
        started_at=timezone.now() - timedelta(hours=1),
        is_wanted=is_wanted,
    )

    worker.work_off("local")

    lost.refresh_from_db()
    expected = BenchmarkState.FAILED if is_wanted else BenchmarkState.CANCELLED
    assert lost.state == expected
    assert lost.error == (worker.LOST if is_wanted else "It was cancelled.")
    assert lost.finished_at is not None


def test_one_that_runs_for_another_process_is_not_taken_for_lost(
    node: Path, small: DiscoveredModel
) -> None:
    benchmark = Benchmark.objects.create(
        model_id="small", node="local", state=BenchmarkState.RUNNING
    )

    with node_lock(ONE_AT_A_TIME):
        worker.work_off("local")

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.RUNNING


def test_a_queued_one_is_cancelled_at_once(
    node: Path, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    benchmark = service.request_benchmark(small)

    service.cancel_benchmark(benchmark, who="eve")
    service.cancel_benchmark(benchmark, who="eve")
    worker.work_off("local")

    assert benchmark.state == BenchmarkState.CANCELLED
    assert AuditEntry.objects.get(action=Action.CANCEL).who == "eve"


@pytest.mark.parametrize("mode", ["hang", "mute"])
def test_one_that_runs_is_cancelled_while_it_waits(
    node: Path, stand_in: SetMode, small: DiscoveredModel, queued_nodes: list[str], mode: str
) -> None:
    stand_in(mode)
    benchmark = service.request_benchmark(small)
    work = in_background(lambda: worker.work_off("local"))
    until(lambda: len(processes_of(node)) > 0)

    service.cancel_benchmark(benchmark)
    work.join(PATIENCE_S)

    assert not work.is_alive()
    benchmark.refresh_from_db()
    assert (benchmark.state, benchmark.error) == ("cancelled", "It was cancelled.")
    assert processes_of(node) == []


def test_a_worker_that_is_to_end_leaves_its_benchmark_to_the_next_and_no_server(
    node: Path, stand_in: SetMode, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    stand_in("hang")
    benchmark = service.request_benchmark(small)
    work = in_background(lambda: worker.work_off("local"))
    until(lambda: len(processes_of(node)) > 0)

    stopping.set()
    try:
        work.join(PATIENCE_S)
    finally:
        stopping.clear()

    assert not work.is_alive()
    benchmark.refresh_from_db()
    assert (benchmark.state, benchmark.error) == (BenchmarkState.QUEUED, "")
    assert processes_of(node) == []


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("die", "--stand-in", id="its server dies"),
        pytest.param("caching", "Take cache flags out", id="a cache would be measured"),
    ],
)
def test_what_cannot_be_measured_says_why(
    node: Path,
    stand_in: SetMode,
    small: DiscoveredModel,
    queued_nodes: list[str],
    mode: str,
    expected: str,
) -> None:
    stand_in(mode)
    benchmark = service.request_benchmark(small, **SMALL)  # type: ignore[arg-type]

    worker.work_off("local")

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.FAILED
    assert expected in benchmark.error
    assert processes_of(node) == []


def test_contexts_that_no_slot_has_room_for_are_refused(
    node: Path, stand_in: SetMode, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    stand_in("serve")
    benchmark = service.request_benchmark(small, contexts=[2048])

    worker.work_off("local")

    benchmark.refresh_from_db()
    assert "A slot has 2048 tokens, too few" in benchmark.error


def test_a_model_that_was_forgotten_meanwhile_is_said_so(
    node: Path, small: DiscoveredModel, queued_nodes: list[str]
) -> None:
    benchmark = service.request_benchmark(small)
    small.delete()

    worker.work_off("local")

    benchmark.refresh_from_db()
    assert benchmark.error == "small is not registered any more. Rescan, and measure it again."


def test_when_its_time_is_over_no_round_is_begun(
    node: Path, stand_in: SetMode, small: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("serve")
    monkeypatch.setattr("servers_app.bench.plan.MAX_SECONDS", Bound(0, 10))
    plan = Plan(contexts=(8,), clients=(1,), repeats=4, tokens=2, max_seconds=0)

    benchmark = worker.measure_here(small, plan)

    assert benchmark.state == BenchmarkState.FINISHED
    assert "Its 0 s were over after 1 of 4 rounds" in benchmark.note
    depth = next(entry for entry in benchmark.figures if entry["measured"] == "depth")
    assert len(depth["samples"]) == 1


def test_without_a_queue_it_is_measured_by_the_next_pass(
    node: Path, small: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_options: object) -> None:
        raise OSError

    monkeypatch.setattr("servers_app.tasks.measure.apply_async", away)

    with pytest.raises(QueueUnavailableError):
        service.request_benchmark(small)

    assert Benchmark.objects.get().state == BenchmarkState.QUEUED


def test_what_generates_nothing_or_cannot_run_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(BenchmarkInvalidError, match="its kind is embedding"):
        service.request_benchmark(make_model("e", kind=ModelKind.EMBEDDING))
    with pytest.raises(NotLaunchableError, match="its file is missing"):
        service.request_benchmark(make_model("m", is_missing=True))
    assert not Benchmark.objects.exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"contexts": []}, "contexts=list: give a list of 1 to 8 whole numbers."),
        ({"contexts": [1] * 9}, "contexts=list: give a list of 1 to 8"),
        ({"contexts": "128"}, "contexts=128: give a list"),
        ({"contexts": [0]}, "contexts=0: give a whole number from 1 to 1000000."),
        ({"clients": [33]}, "clients=33: give a whole number from 1 to 32."),
        ({"repeats": True}, "repeats=True: give a whole number from 1 to 50."),
        ({"tokens": 1.5}, "tokens=1.5: give a whole number"),
        ({"tokens": 1}, "tokens=1: give a whole number from 2 to 4096"),
        ({"target": "mine"}, "target=mine: give one of: own, running."),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_what_can(
    given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(BenchmarkInvalidError) as refused:
        plan_of(given)

    assert str(refused.value).startswith(expected)


def test_a_plan_says_what_was_given_and_otherwise_its_base() -> None:
    plan = plan_of({"contexts": [64, 64, 32]}, base=QUICK)

    assert plan == Plan(contexts=(64, 32), clients=(1, 2), repeats=3, tokens=32)
    assert plan_of(plan.as_json()) == plan
