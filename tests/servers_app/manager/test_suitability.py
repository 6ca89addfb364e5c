"""Which model suits a task best, with all that the database knows of it."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel, ModelKind
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.comparison_models import Choice, ComparedPrompt, Comparison, Vote
from servers_app.errors import UnknownTaskKindError
from servers_app.manager.suitability import Suitability, select_best_model, suitability
from servers_app.manager.task_scores import KEPT_S, TaskScores
from servers_app.models import Wanted
from servers_app.request_models import UsageMinute
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db


def ranked(task: str) -> list[str]:
    models = list(DiscoveredModel.objects.all())
    return [each.model.model_id for each in suitability(models, task)]


def best(task: str, *, only_enabled: bool = False) -> Suitability:
    found = select_best_model(task, only_enabled=only_enabled)
    assert found is not None
    return found


def measured(model_id: str, tokens_per_s: float, **fields: object) -> None:
    values: dict[str, object] = {
        "kind": BenchmarkKind.MEASURE, "state": BenchmarkState.FINISHED, **fields,
    }  # fmt: skip
    Benchmark.objects.create(
        model_id=model_id, node="local", generation_tokens_per_s=tokens_per_s, **values
    )


def test_the_best_model_comes_first_and_of_two_as_good_the_smaller(
    make_model: MakeModel,
) -> None:
    make_model("large", size_bytes=2**31)
    make_model("small")
    make_model("coder", is_coder=True)

    assert ranked("coding") == ["coder", "small", "large"]
    assert best("coding").model.model_id == "coder"


def test_what_cannot_do_it_is_left_out(make_model: MakeModel) -> None:
    make_model("text")
    make_model("eyes", kind=ModelKind.VISION, projector_path="/models/mmproj.gguf")
    make_model("embedder", kind=ModelKind.EMBEDDING)
    make_model("reranker", kind=ModelKind.RERANKER)
    make_model("gone", is_missing=True)
    make_model("broken", problem="incomplete: shard 2 of 3 is missing")

    assert ranked("vision") == ["eyes"]
    assert ranked("embedding") == ["embedder"]
    assert set(ranked("general")) == {"text", "eyes"}


def test_without_a_model_there_is_no_best_one() -> None:
    assert select_best_model("vision") is None


def test_a_task_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UnknownTaskKindError, match=r"no task 'cooking'\. Available: general, cod"
    ):
        select_best_model("cooking")


def test_a_model_that_was_asked_to_think_no_more_does_not(make_model: MakeModel) -> None:
    make_model("asked-not-to", supports_thinking=True, thinking_override=False)
    make_model("able", supports_thinking=True)

    assert ranked("analysis") == ["able", "asked-not-to"]


def test_the_newest_finished_measurement_counts(make_model: MakeModel) -> None:
    make_model("m")
    measured("m", 5.0)
    measured("m", 40.0)
    measured("m", 1.0, state=BenchmarkState.FAILED)
    measured("m", 2.0, kind=BenchmarkKind.TUNE)

    assert "It writes 40 tokens a second" in " ".join(best("general").reasons)


def test_what_people_prefer_wins(make_model: MakeModel) -> None:
    make_model("a")
    make_model("b")
    comparison = Comparison.objects.create(model_a="a", model_b="b")
    for position in range(8):
        prompt = ComparedPrompt.objects.create(
            comparison=comparison, position=position, task="creative", prompt="A story."
        )
        Vote.objects.create(prompt=prompt, who="ada", choice=Choice.B)

    assert ranked("creative") == ["b", "a"]
    assert ranked("coding") == ["a", "b"]


def test_what_fails_requests_loses(make_model: MakeModel) -> None:
    make_model("a")
    make_model("b")
    for ago, failures in ((timedelta(hours=1), 40), (timedelta(days=9), 60)):
        UsageMinute.objects.create(
            minute=timezone.now() - ago, model_id="a", requests=60, failures=failures
        )

    assert ranked("general") == ["b", "a"]
    assert "40 of its last 60 requests failed" in " ".join(
        suitability(list(DiscoveredModel.objects.all()), "general")[1].reasons
    )


def test_enabled_is_what_the_gateway_serves(
    make_model: MakeModel, make_profile: MakeProfile, make_server: MakeServer
) -> None:
    make_model("large", size_params=70.0)
    make_model("other", size_params=14.0)
    make_model("member", size_params=1.0)
    make_profile("old", "other")
    make_profile("mine", "member", is_active=True)

    assert best("general").model.model_id == "large"
    assert best("general", only_enabled=True).model.model_id == "member"

    make_server(make_model("asked-for", size_params=2.0), on_request=True)
    assert best("general", only_enabled=True).model.model_id == "asked-for"

    make_server(make_model("wanted", size_params=3.0), wanted=Wanted.RUNNING)
    assert best("general", only_enabled=True).model.model_id == "wanted"


def test_many_models_cost_no_more_queries_than_one(
    make_model: MakeModel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        make_model(f"m{number}")

    with django_assert_num_queries(4):
        select_best_model("coding")


def test_scores_for_the_gateway_are_worked_out_each_minute_and_when_models_change(
    make_model: MakeModel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    now = 0.0
    scores = TaskScores(clock=lambda: now)
    models = [make_model("m")]
    before = scores(models)["general"]["m"]
    measured("m", 100.0)

    with django_assert_num_queries(0):
        assert scores(models)["general"]["m"] == before
    now = KEPT_S
    assert scores(models)["general"]["m"] > before

    models.append(make_model("other", kind=ModelKind.EMBEDDING))
    assert list(scores(models)["embedding"]) == ["other"]
