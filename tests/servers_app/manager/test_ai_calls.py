"""The calls under /ai/ that show models: the shapes of seed 004."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel, ModelKind, ScanRoot
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.manager import available, performance
from servers_app.manager.answers import type_of
from servers_app.manager_models import CurrentModel, ModelPerformance
from servers_app.models import ServerState, Wanted
from servers_app.request_models import UsageMinute
from tests.api.document import check_answer
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.manager.conftest import Call
from tests.servers_app.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.django_db(transaction=True)

READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY}


def told(ask: Call, path: str, body: object = None) -> Any:
    answer = ask(path, body)
    method = "get" if body is None else "post"
    check_answer(method, f"/ai/{path.partition('?')[0]}", answer)
    assert answer.status_code == 200, answer.json()
    said = answer.json()
    assert set(said) == {"success", "data", "message", "timestamp"}
    return said["data"]


def used(model_id: str, **fields: Any) -> None:
    values = {
        "requests": 50, "failures": 1, "completion_tokens": 2000, "total_ms": 80_000.0,
        "answered": 49, "minute": timezone.now() - timedelta(hours=2), **fields,
    }  # fmt: skip
    UsageMinute.objects.create(model_id=model_id, **values)


def test_models_are_listed_with_what_was_measured(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    now = timezone.now()
    model = make_model(
        "mistral", identity="ollama:m", repo_id="mistral:7b", size_params=7.0, is_coder=True
    )
    make_server(model, **READY, last_used_at=now, peak_mib=7168)
    make_model("unused", size_params=0.135)
    make_model("gone", is_missing=True)
    used("mistral")
    CurrentModel.objects.create(pk=1, model=model)

    data = told(ask, "available-models")

    assert data["active_model"] == "mistral:7b"
    first, second = data["installed"]
    assert (first["name"], first["size"], first["format"]) == ("mistral:7b", "7B", "gguf")
    assert (first["type"], first["last_used"]) == ("code-generation", now.isoformat())
    figures = {key: first["performance"][key] for key in first["performance"]}
    assert figures.pop("measured_at")
    assert figures == {
        "tokens_per_second": 25.0,
        "avg_latency_ms": 1600.0,
        "memory_mb": 7168.0,
        "measured_by": "requests",
    }
    assert (second["name"], second["size"], second["last_used"]) == ("unused", "135M", None)
    assert set(second["performance"].values()) == {None}


def test_without_a_hub_a_list_that_ships_is_shown_and_no_figure_is_made_up(
    ask: Call, make_model: MakeModel
) -> None:
    make_model("llama", identity="ollama:l", repo_id="llama2:7b")

    data = told(ask, "available-models")

    names = [each["name"] for each in data["available"]]
    assert "codellama:7b" in names
    assert "llama2:7b" not in names  # it is here
    assert {each["popularity"] for each in data["available"]} == {None}
    assert {(each["source"], each["listed_by"]) for each in data["available"]} == {
        ("ollama", "catalogue")
    }


def test_what_the_hub_has_is_shown_with_its_figures(
    ask: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = available.Fetchable("org/repo", "7B", "llama model", 4321, "huggingface", "hub")
    monkeypatch.setattr(available._hub, "models", lambda: [found])

    assert told(ask, "available-models")["available"] == [found.as_json()]


def test_how_the_current_model_is(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model("here", supports_tools=True, context_length=32_768)
    launched = timezone.now() - timedelta(hours=1)
    make_server(model, **READY, pid=1, launched_at=launched, facts={"n_ctx": 4096})
    CurrentModel.objects.create(pk=1, model=model)
    used("here")
    used("here", requests=9, failures=9, minute=timezone.now() - timedelta(days=2))

    data = told(ask, "model-status")

    assert (data["current_model"], data["status"]) == ("here", "active")
    assert 3600 <= data["uptime_seconds"] < 3700
    assert (data["performance"]["error_rate"], data["performance"]["total_requests"]) == (
        0.02, 50,
    )  # fmt: skip
    assert data["resource_usage"] == {
        "memory_mb": None, "cpu_percent": None, "memory_percent": None,
    }  # fmt: skip
    assert data["capabilities"] == {
        "type": "general-purpose",
        "supports": ["chat", "tools"],
        "max_context": 4096,
        "quantization": "Q4_K_M",
    }


def test_of_a_server_whose_node_is_silent_nobody_says_that_it_is_active(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    model, now = make_model("here"), timezone.now()
    make_server(model, **READY, pid=1, node="b", launched_at=now, unreachable_since=now)
    CurrentModel.objects.create(pk=1, model=model)

    data = told(ask, "model-status")

    assert (data["status"], data["uptime_seconds"]) == ("unreachable", None)
    make_server(model, wanted=Wanted.RUNNING, state=ServerState.STARTING, node="c", port=8081)
    assert told(ask, "model-status")["status"] == "loading"
    (one,) = told(ask, "available-models")["installed"]
    assert one["status"] == "loading"


def test_why_a_server_failed_is_in_the_status(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(
        make_model("here"),
        state=ServerState.FAILED,
        last_error="It ran out of memory.\nThe last lines of its log: …",
    )
    CurrentModel.objects.create(pk=1, model=server.model)

    said = ask("model-status").json()

    check_answer("get", "/ai/model-status", ask("model-status"))
    assert (said["data"]["status"], said["data"]["error"]) == (
        "failed",
        "It ran out of memory.",
    )
    assert said["message"] == "here is failed: It ran out of memory."


def test_without_a_current_model_all_is_null(ask: Call) -> None:
    data = told(ask, "model-status")

    assert data.pop("status") == "none"
    assert set(data.values()) == {None}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "general-purpose"),
        ({"is_coder": True}, "code-generation"),
        ({"is_thinking_model": True}, "reasoning"),
        ({"kind": ModelKind.VISION}, "vision"),
        ({"kind": ModelKind.EMBEDDING}, "embedding"),
        ({"kind": ModelKind.RERANKER}, "reranking"),
    ],
)
def test_a_type_is_a_word(fields: dict[str, Any], word: str) -> None:
    assert type_of(DiscoveredModel(**fields)) == word


def test_the_best_model_for_a_task_is_named_with_its_reasons(
    ask: Call, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("plain")
    make_model("coder", is_coder=True)
    make_profile("mine", "plain", is_active=True)

    data = told(ask, "select-model?task=coding")

    assert (data["model_name"], data["enabled"]) == ("coder", False)
    assert any("trained for code" in reason for reason in data["reasons"])
    assert [each["model_id"] for each in data["candidates"]] == ["coder", "plain"]
    assert data["task_suitability"]["coding"] == data["score"]
    assert data["task_suitability"]["vision"] is None
    assert told(ask, "select-model?task=coding&enabled=true")["model_name"] == "plain"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("?task=cooking", 400, "general, coding, analysis"),
        ("", 400, "general, coding, analysis"),
        ("?task=coding&best=1", 400, "no such parameter"),
        ("?task=vision", 404, "projector"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(
    ask: Call, make_model: MakeModel, query: str, status: int, said: str
) -> None:
    make_model("text")

    answer = ask(f"select-model{query}")

    check_answer("get", "/ai/select-model", answer)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_figure_is_measured_once_a_day_or_when_asked(
    ask: Call, make_model: MakeModel
) -> None:
    model = make_model("here")
    used("here")

    def shown(query: str = "") -> Any:
        (one,) = told(ask, f"available-models{query}")["installed"]
        return one["performance"]["tokens_per_second"]

    assert shown() == 25.0
    used("here", completion_tokens=6000, minute=timezone.now())
    assert shown() == 25.0
    assert shown("?refresh=true") == 50.0
    ModelPerformance.objects.update(at=timezone.now() - timedelta(hours=25))
    used("here", completion_tokens=0, minute=timezone.now() - timedelta(hours=1))
    assert shown() == 33.33
    history = told(ask, "performance-history?model_name=here&limit=2")["history"]
    assert [each["performance"]["tokens_per_second"] for each in history] == [33.33, 50.0]
    assert ModelPerformance.objects.filter(model=model).count() == 3


def test_that_nobody_has_asked_a_model_yet_is_not_kept(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("here"), peak_mib=330)

    def shown() -> Any:
        (one,) = told(ask, "available-models")["installed"]
        return one["performance"]

    assert (shown()["tokens_per_second"], shown()["memory_mb"]) == (None, 330)
    used("here")
    assert shown()["tokens_per_second"] == 25.0


def test_of_a_model_no_more_is_kept_than_so_much(
    ask: Call, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance, "MAX_KEPT", 2)
    model = make_model("here")
    used("here")

    for _ in range(4):
        told(ask, "available-models?refresh=true")

    assert ModelPerformance.objects.filter(model=model).count() == 2


def test_once_a_day_the_models_of_a_node_are_measured(make_model: MakeModel) -> None:
    here = ScanRoot.objects.create(node="local", path="/models")
    there = ScanRoot.objects.create(node="attic", path="/models")
    for name, root in (("here", here), ("there", there), ("unused", here)):
        make_model(name, root=root)
    used("here")
    used("there")

    assert (performance.note_all("local"), performance.note_all("local")) == (1, 0)
    assert ModelPerformance.objects.get().model.model_id == "here"
    ModelPerformance.objects.update(at=timezone.now() - timedelta(days=400))
    assert performance.note_all("local") == 1
    assert ModelPerformance.objects.count() == 1


def test_without_requests_a_benchmark_says_how_fast_a_model_is(
    ask: Call, make_model: MakeModel
) -> None:
    make_model("here")
    Benchmark.objects.create(
        model_id="here", node="local", state=BenchmarkState.FINISHED,
        generation_tokens_per_s=31.5, peak_ram_mib=512,
    )  # fmt: skip

    (one,) = told(ask, "available-models")["installed"]

    assert one["performance"]["tokens_per_second"] == 31.5
    assert one["performance"]["memory_mb"] == 512
    assert one["performance"]["measured_by"] == "benchmark"
    assert one["performance"]["avg_latency_ms"] is None


def test_a_model_is_measured(
    ask: Call,
    make_model: MakeModel,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_model("here")

    def finish(*_args: object, **_options: object) -> None:
        Benchmark.objects.update(
            state=BenchmarkState.FINISHED, generation_tokens_per_s=31.5, load_seconds=1.5
        )

    monkeypatch.setattr("servers_app.bench.service.enqueue", finish)

    data = told(ask, "benchmark-model", {"model_name": "here", "repeats": 2})

    assert (data["model_name"], data["status"]) == ("here", "finished")
    assert (data["tokens_per_second"], data["load_time_ms"]) == (31.5, 1500)
    assert Benchmark.objects.get().plan["repeats"] == 2


def test_a_benchmark_that_takes_longer_can_be_followed(
    ask: Call,
    make_model: MakeModel,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_model("here")
    monkeypatch.setattr("servers_app.bench.service.enqueue", lambda *_args, **_more: None)

    answer = ask("benchmark-model?wait=0", {"model_name": "here"})

    check_answer("post", "/ai/benchmark-model", answer)
    assert answer.status_code == 202
    number = Benchmark.objects.get().pk
    assert answer.json()["data"]["status_url"] == f"/api/models/benchmarks/{number}"
    refused = ask("benchmark-model", {"model_name": "nobody"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_name")


def test_many_models_cost_no_more_queries_than_one(
    ask: Call, make_model: MakeModel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        make_model(f"m{number}")
        used(f"m{number}")

    with django_assert_max_num_queries(24):
        told(ask, "available-models")
