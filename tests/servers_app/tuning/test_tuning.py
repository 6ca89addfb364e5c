"""A search of the real model with the real engine: asked for, done, cancelled, applied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from models_app.errors import QueueUnavailableError
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, ModelKind
from profiles_app.models import ModelRunSettings
from servers_app import tasks
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import NotLaunchableError, TuningInvalidError, TuningNotAppliedError
from servers_app.tuning import session, trials, worker
from servers_app.tuning.applying import apply_tuning
from servers_app.tuning.service import request_tuning
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(
    make_model: MakeModel, smollm2: Path, tmp_path: Path, settings: Settings
) -> Iterator[DiscoveredModel]:
    """SmolLM2 on a node of the test's own; no process is left behind."""
    settings.MAGI_DATA_DIR = tmp_path
    settings.MAGI_RUN_DIR = tmp_path / "run"
    ModelRunSettings.objects.create(model_id="smollm2", run_settings={"ctx_size": 512})
    yield make_model(
        "smollm2",
        file_path=str(smollm2),
        blob_path=str(smollm2),
        size_bytes=smollm2.stat().st_size,
        context_length=2048,
    )
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    assert not left


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the queue's place; return the searches that are queued."""
    numbers: list[int] = []

    def enqueue(_task: object, number: int, **_options: Any) -> None:
        numbers.append(number)

    monkeypatch.setattr("servers_app.tuning.service.enqueue", enqueue)
    return numbers


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a few tokens, and turn one knob: these tests are of the way, not of a gain."""
    monkeypatch.setattr(trials, "PROMPT_TOKENS", 16)
    monkeypatch.setattr(trials, "GENERATED_TOKENS", 4)
    monkeypatch.setattr(trials, "TURNED", ("flash_attn",))
    monkeypatch.setattr(session, "SAMPLES", 2)
    monkeypatch.setattr(session, "FIRM_SAMPLES", 2)


def test_a_search_ends_in_trials_and_an_outcome_and_changes_nothing(
    model: DiscoveredModel, queued: list[int], brief: None
) -> None:
    benchmark = request_tuning(model, minutes=5, goal="prompt", who="ada")

    worker.run(queued[0])

    benchmark.refresh_from_db()
    outcome = benchmark.outcome
    assert (benchmark.state, benchmark.error) == (BenchmarkState.FINISHED, "")
    assert benchmark.settings == {"flash_attn": "auto"}
    assert [trial["changes"] for trial in outcome["trials"]] == [
        {"flash_attn": "on"},
        {"flash_attn": "off"},
    ]
    assert all(len(trial["prompt"]) == 2 and trial["gain"] > 0 for trial in outcome["trials"])
    assert len(outcome["baseline"]["generation"]) == 2
    assert benchmark.build
    assert benchmark.prompt_tokens_per_s
    assert ModelRunSettings.objects.get().run_settings == {"ctx_size": 512}


def searched(model_id: str = "m", **fields: Any) -> Benchmark:
    """Save a search that has ended, and found something."""
    values: dict[str, Any] = {
        "kind": BenchmarkKind.TUNE,
        "node": "local",
        "state": BenchmarkState.FINISHED,
        "plan": {"minutes": 10, "goal": "both"},
        "outcome": {"settings": {"threads": 1, "flash_attn": "on"}},
        **fields,
    }
    return Benchmark.objects.create(model_id=model_id, **values)


def test_a_search_that_is_under_way_is_not_made_twice(
    make_model: MakeModel, queued: list[int]
) -> None:
    model = make_model("m")

    first = request_tuning(model, who="ada")
    second = request_tuning(model, minutes=3, who="bob")

    assert (second.pk, second.plan["minutes"], second.asked_by) == (first.pk, 10, "ada")
    assert queued == [first.pk]
    (entry,) = AuditEntry.objects.all()
    assert entry.after
    assert (entry.who, entry.action, entry.after["goal"]) == ("ada", "benchmark", "both")


def test_what_the_queue_does_not_take_is_written_down(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enqueue(*_arguments: object, **_options: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr("servers_app.tuning.service.enqueue", enqueue)

    with pytest.raises(QueueUnavailableError):
        request_tuning(make_model("m"))

    assert worker.left_behind() == [Benchmark.objects.get().pk]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"minutes": 0}, "minutes: give a number from 1 to 240", id="no time"),
        pytest.param({"minutes": float("nan")}, "minutes", id="NaN"),
        pytest.param({"minutes": True}, "minutes", id="a truth value"),
        pytest.param({"minutes": "10"}, "minutes", id="a text"),
        pytest.param({"goal": "speed"}, "generation, prompt, both", id="no goal"),
        pytest.param({"goal": ["both"]}, "generation, prompt, both", id="a list"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_what_can(
    make_model: MakeModel, queued: list[int], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(TuningInvalidError, match=said):
        request_tuning(make_model("m"), **given)

    assert not queued


def test_what_cannot_be_started_or_does_not_generate_is_not_searched(
    make_model: MakeModel, queued: list[int]
) -> None:
    with pytest.raises(NotLaunchableError, match="its file is missing"):
        request_tuning(make_model("gone", is_missing=True))
    with pytest.raises(TuningInvalidError, match="its kind is embedding"):
        request_tuning(make_model("bge", kind=ModelKind.EMBEDDING))


def test_a_search_waits_while_something_is_measured(
    make_model: MakeModel, queued: list[int]
) -> None:
    benchmark = request_tuning(make_model("m"))

    with node_lock(ONE_AT_A_TIME) as held:
        assert held
        tasks.tune(benchmark.pk)
        assert worker.left_behind() == []

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.QUEUED
    assert worker.left_behind() == [benchmark.pk]


def test_a_search_whose_worker_died_ends_with_the_trials_that_it_had() -> None:
    outcome = {"trials": [{"number": 1}]}
    lost = searched(state=BenchmarkState.RUNNING, outcome=outcome)
    cancelled = searched(state=BenchmarkState.RUNNING, is_wanted=False)

    assert worker.left_behind() == []

    lost.refresh_from_db()
    cancelled.refresh_from_db()
    assert (lost.state, lost.outcome) == (BenchmarkState.FAILED, outcome)
    assert "Search again" in lost.error
    assert cancelled.state == BenchmarkState.CANCELLED


def test_a_model_that_does_not_come_up_fails_the_search_with_the_reason(
    model: DiscoveredModel, queued: list[int], brief: None, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    DiscoveredModel.objects.filter(pk=model.pk).update(
        file_path=str(broken), blob_path=str(broken)
    )
    benchmark = request_tuning(model)

    tasks.tune(queued[0])

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.FAILED
    assert benchmark.error
    assert "Traceback" not in benchmark.error


def test_a_search_that_nobody_wants_any_more_is_cancelled(
    model: DiscoveredModel, queued: list[int], brief: None
) -> None:
    benchmark = request_tuning(model)
    Benchmark.objects.update(is_wanted=False)

    tasks.tune(queued[0])

    benchmark.refresh_from_db()
    assert benchmark.state == BenchmarkState.CANCELLED


def test_what_was_found_is_taken_over_beside_what_was_there(make_model: MakeModel) -> None:
    make_model("m")
    ModelRunSettings.objects.create(model_id="m", run_settings={"ctx_size": 512, "threads": 3})

    applied = apply_tuning(searched(), who="ada")

    after = {"ctx_size": 512, "threads": 1, "flash_attn": "on"}
    assert ModelRunSettings.objects.get().run_settings == after
    assert applied.overruled == {}
    assert "restart it" in applied.sentence
    (entry,) = AuditEntry.objects.all()
    assert (entry.who, entry.action, entry.target_id) == ("ada", "update", "m")
    assert entry.before == {"run_settings": {"threads": 3}}


def test_who_applies_is_told_what_the_active_profile_says_instead(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("m")
    make_profile("mine", "m", is_active=True, run_settings={"flash_attn": "off"})

    applied = apply_tuning(searched())

    assert applied.overruled == {"flash_attn": "profile mine"}
    assert "flash_attn stays as profile mine says" in applied.sentence


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"outcome": {"trials": []}}, id="nothing better"),
        pytest.param({"state": BenchmarkState.RUNNING}, id="not over"),
        pytest.param({"kind": BenchmarkKind.MEASURE}, id="no search"),
        pytest.param({"outcome": {"settings": {"threads": 0}}}, id="settings that cannot be"),
    ],
)
def test_there_is_nothing_to_apply(make_model: MakeModel, fields: dict[str, Any]) -> None:
    make_model("m")

    with pytest.raises(TuningNotAppliedError):
        apply_tuning(searched(**fields))

    assert not ModelRunSettings.objects.exists()
