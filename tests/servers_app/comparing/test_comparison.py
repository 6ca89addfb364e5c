"""A comparison from the asking to its end: what is sent, kept, resumed and cancelled."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from models_app.errors import QueueUnavailableError
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, ModelKind
from servers_app import tasks
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.benchmark_models import BenchmarkState
from servers_app.comparing import service, worker
from servers_app.comparing.prompts import Prompt, shipped
from servers_app.comparing.service import cancel_comparison, request_comparison
from servers_app.comparison_models import ComparedPrompt, Comparison
from servers_app.errors import ComparisonInvalidError, NotLaunchableError
from servers_app.models import Server, ServerState
from tests.conftest import MakeModel
from tests.servers_app.comparing.conftest import Engine

pytestmark = pytest.mark.django_db(transaction=True)

Pair = tuple[DiscoveredModel, DiscoveredModel]
TWO = [Prompt("Say hello.", "general"), Prompt("Add 2 and 3.", "coding")]


def asked_for(pair: Pair, prompts: list[Prompt] | None = None, **options: Any) -> Comparison:
    return request_comparison(*pair, prompts or TWO, who="ada", **options)


def answers_of(row: ComparedPrompt) -> tuple[dict[str, Any], dict[str, Any]]:
    assert row.answer_a
    assert row.answer_b
    return row.answer_a, row.answer_b


def test_both_models_get_the_same_prompts_in_the_same_order_with_the_same_settings(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    settings = {"system": "Be short.", "max_tokens": 9, "temperature": 0, "seed": 3}
    comparison = asked_for(pair, settings=settings)

    tasks.compare(queued[0])

    comparison.refresh_from_db()
    assert (comparison.state, comparison.error) == (BenchmarkState.FINISHED, "")
    assert [body["messages"][-1]["content"] for body in engine.asked] == [
        prompt.text for prompt in TWO * 2
    ]
    assert all(
        body["messages"][0] == {"role": "system", "content": "Be short."}
        and (body["max_tokens"], body["temperature"], body["seed"]) == (9, 0, 3)
        for body in engine.asked
    )
    for row in comparison.prompts.all():
        for answer in answers_of(row):
            assert answer["text"] == f"An answer to: {row.prompt}\N{REPLACEMENT CHARACTER}"
            assert (answer["thinking"], answer["tokens"]) == ("Hm.", 4)
            assert answer["tokens_per_s"] == 12.5
            assert answer["seconds"] >= answer["first_token_s"] >= 0


def test_who_asked_and_for_what_is_in_the_audit(pair: Pair, queued: list[int]) -> None:
    asked_for(pair, name="Which?")

    (entry,) = AuditEntry.objects.all()
    assert (entry.action, entry.who, entry.target_name) == ("compare", "ada", "Which?")
    assert entry.after
    assert entry.after["models"] == ["ada", "bob"]


def test_an_answer_that_fails_is_kept_as_what_it_is(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    engine.mode = "refuse"
    comparison = asked_for(pair)

    tasks.compare(queued[0])

    comparison.refresh_from_db()
    assert comparison.state == BenchmarkState.FINISHED
    assert {str(row.answer_b) for row in comparison.prompts.all()} == {
        "{'error': 'The server answered 500: context size exceeded'}"
    }


def test_an_answer_that_breaks_off_is_told_from_a_whole_one(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    engine.mode = "break off"
    comparison = asked_for(pair)

    tasks.compare(queued[0])

    for row in comparison.prompts.all():
        assert all("broke off" in answer["error"] for answer in answers_of(row))


def test_a_worker_that_died_is_made_up_for_without_asking_twice(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    comparison = asked_for(pair)
    comparison.prompts.filter(position=0).update(answer_a={"text": "from before"})
    Comparison.objects.update(state=BenchmarkState.RUNNING)

    assert worker.left_behind() == [comparison.pk]
    tasks.compare(comparison.pk)

    comparison.refresh_from_db()
    assert comparison.state == BenchmarkState.FINISHED
    assert len(engine.asked) == 3
    assert comparison.prompts.get(position=0).answer_a == {"text": "from before"}
    assert worker.left_behind() == []


def test_a_task_that_comes_twice_does_nothing_twice(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    comparison = asked_for(pair)

    tasks.compare(comparison.pk)
    tasks.compare(comparison.pk)

    assert len(engine.asked) == 4


def test_comparisons_are_done_one_after_the_other(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    first, second = asked_for(pair), asked_for(pair)

    with node_lock(ONE_AT_A_TIME) as held:
        assert held
        tasks.compare(first.pk)  # something is measured: it waits
        assert not engine.asked
    tasks.compare(first.pk)

    second.refresh_from_db()
    assert second.state == BenchmarkState.FINISHED


def test_one_that_is_cancelled_stops_between_two_words(
    pair: Pair, queued: list[int], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ASK_S", 0)
    comparison = asked_for(pair)

    def cancel(_body: dict[str, Any]) -> None:
        if len(engine.asked) == 2:
            Comparison.objects.update(is_wanted=False)

    engine.on_ask = cancel
    tasks.compare(comparison.pk)

    comparison.refresh_from_db()
    assert comparison.state == BenchmarkState.CANCELLED
    assert len(engine.asked) == 2


def test_one_that_waits_is_cancelled_at_once_and_only_once(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    comparison = asked_for(pair)

    cancel_comparison(comparison, who="bob")
    cancel_comparison(comparison, who="bob")
    tasks.compare(comparison.pk)

    comparison.refresh_from_db()
    assert comparison.state == BenchmarkState.CANCELLED
    assert comparison.finished_at
    assert not engine.asked
    assert AuditEntry.objects.filter(action="cancel", who="bob").count() == 1


def test_what_the_queue_does_not_take_is_written_down(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enqueue(*_arguments: object, **_options: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr(service, "enqueue", enqueue)

    with pytest.raises(QueueUnavailableError):
        asked_for(pair)

    assert worker.left_behind() == [Comparison.objects.get().pk]


def test_a_node_does_its_own_comparisons_only(
    pair: Pair, queued: list[int], settings: Settings
) -> None:
    asked_for(pair)
    settings.MAGI_NODE = "elsewhere"

    assert worker.left_behind() == [Comparison.objects.get().pk]  # a model without a root


def test_a_model_that_neither_runs_nor_can_be_launched_fails_it_with_the_reason(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    Server.objects.filter(model=pair[1]).update(state=ServerState.STOPPED, port=None)
    comparison = asked_for(pair)

    tasks.compare(comparison.pk)

    comparison.refresh_from_db()
    assert comparison.state == BenchmarkState.FAILED
    assert comparison.error
    assert len(engine.asked) == 2  # the first has answered; its answers stay


def test_texts_are_ranked_by_models_that_embed(
    pair: Pair, queued: list[int], engine: Engine
) -> None:
    DiscoveredModel.objects.update(kind=ModelKind.EMBEDDING)
    for model in pair:
        model.refresh_from_db()
    comparison = asked_for(pair, [Prompt("cat\nsix\nlonger text\nfour", "embedding")])

    tasks.compare(comparison.pk)

    answer, _ = answers_of(comparison.prompts.get())
    assert answer["text"] == "1.000  six\n0.997  longer text\n0.997  four"
    assert answer["tokens"] == 9


def test_images_are_sent_as_images(pair: Pair, queued: list[int], engine: Engine) -> None:
    DiscoveredModel.objects.update(kind=ModelKind.VISION)
    for model in pair:
        model.refresh_from_db()
    comparison = asked_for(pair, shipped("vision")[:1])

    tasks.compare(comparison.pk)

    text, image = engine.asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "Which shape do you see, and in which colour?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("fields", "prompts", "error"),
    [
        pytest.param({"kind": ModelKind.EMBEDDING}, TWO, ComparisonInvalidError, id="embeds"),
        pytest.param({"kind": ModelKind.RERANKER}, TWO, ComparisonInvalidError, id="reranks"),
        pytest.param({}, shipped("embedding"), ComparisonInvalidError, id="chats"),
        pytest.param({}, shipped("vision"), ComparisonInvalidError, id="is blind"),
        pytest.param({"is_missing": True}, TWO, NotLaunchableError, id="is gone"),
        pytest.param({}, [], ComparisonInvalidError, id="no prompt"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_kept(
    make_model: MakeModel,
    fields: dict[str, Any],
    prompts: list[Prompt],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        request_comparison(make_model("a"), make_model("b", **fields), prompts)

    assert not Comparison.objects.exists()


def test_a_model_is_not_compared_with_itself(make_model: MakeModel) -> None:
    model = make_model("a")

    with pytest.raises(ComparisonInvalidError, match="two different"):
        request_comparison(model, model, TWO)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": 10**9},
        {"temperature": float("nan")},
        {"temperature": "0"},
        {"seed": -1},
        {"system": 3},
        {"system": "a\0b"},
        {"top_p": 1},
    ],
    ids=str,
)
def test_settings_out_of_their_range_are_refused_by_name(
    make_model: MakeModel, settings: dict[str, Any]
) -> None:
    (name,) = settings

    with pytest.raises(ComparisonInvalidError, match=rf"settings\.{name}"):
        request_comparison(make_model("a"), make_model("b"), TWO, settings=settings)


def test_a_model_that_does_not_run_is_launched_for_it_alone(
    pair: Pair, queued: list[int], engine: Engine, smollm2: Path
) -> None:
    Server.objects.filter(model=pair[1]).delete()
    path = str(smollm2)
    DiscoveredModel.objects.filter(pk=pair[1].pk).update(
        file_path=path, blob_path=path, size_bytes=smollm2.stat().st_size, context_length=512
    )
    comparison = asked_for(pair, TWO[:1], settings={"max_tokens": 4})

    tasks.compare(comparison.pk)

    comparison.refresh_from_db()
    assert (comparison.state, comparison.error) == (BenchmarkState.FINISHED, "")
    _, answer = answers_of(comparison.prompts.get())
    assert (answer["tokens"], answer["finish_reason"]) == (4, "length")
    assert answer["tokens_per_s"] > 0
    assert not Server.objects.filter(model=pair[1]).exists()
