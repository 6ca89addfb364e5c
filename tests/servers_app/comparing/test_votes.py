"""Votes: blind until one has voted, one for each person and prompt, and what they come to."""

from collections.abc import Callable
from typing import Any

import pytest

from models_app.audit_models import AuditEntry
from servers_app.benchmark_models import BenchmarkState
from servers_app.comparing.shown import detail_of, prompts_shown
from servers_app.comparing.tally import Tally
from servers_app.comparing.votes import cast, tallies
from servers_app.comparison_models import ComparedPrompt, Comparison, Vote
from servers_app.errors import ComparisonInvalidError

pytestmark = pytest.mark.django_db

ANSWER = {"text": "from a", "thinking": "Hm.", "tokens_per_s": 9.5, "seconds": 1.5, "tokens": 3}

MakePrompt = Callable[..., ComparedPrompt]


@pytest.fixture
def make_prompt() -> MakePrompt:
    """Return a function that saves a prompt that both models have answered."""

    def make(models: tuple[str, str] = ("ada", "bob"), **fields: Any) -> ComparedPrompt:
        state = fields.pop("state", BenchmarkState.FINISHED)
        comparison, _ = Comparison.objects.get_or_create(
            model_a=models[0], model_b=models[1], defaults={"state": state}
        )
        values = {
            "prompt": "Say hello.",
            "answer_a": ANSWER,
            "answer_b": {**ANSWER, "text": "from b", "tokens_per_s": 8.0},
            **fields,
        }
        place = comparison.prompts.count()
        return ComparedPrompt.objects.create(comparison=comparison, position=place, **values)

    return make


@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_vote_is_for_the_model_that_stood_on_its_side(
    make_prompt: MakePrompt, is_swapped: bool, side: str
) -> None:
    prompt = make_prompt(is_swapped=is_swapped)
    (shown,) = prompts_shown(prompt.comparison, who="ada")
    text = shown[side]["text"]  # type: ignore[literal-required]  # one of two sides

    vote = cast(prompt, side, who="ada")

    assert {"a": "from a", "b": "from b"}[vote.choice] == text
    (now,) = prompts_shown(prompt.comparison, who="ada")
    assert now["vote"] == side
    assert now[f"{side}_model"] == {"a": "ada", "b": "bob"}[vote.choice]  # type: ignore[literal-required]


def test_nothing_tells_the_models_apart_before_ones_own_vote(make_prompt: MakePrompt) -> None:
    prompt = make_prompt(is_swapped=True)
    cast(prompt, "left", who="somebody else")

    (shown,) = prompts_shown(prompt.comparison, who="ada")

    assert shown["left"] == {"text": "from b"}
    assert shown["right"] == {"text": "from a"}
    assert (shown["left_model"], shown["right_model"], shown["vote"]) == (None, None, None)
    (voted,) = prompts_shown(prompt.comparison, who="somebody else")
    assert voted["left_model"] == "bob"
    assert voted["left"] is not None
    assert voted["left"]["tokens_per_s"] == 8.0


def test_an_answer_alone_is_not_shown_while_the_other_may_come(make_prompt: MakePrompt) -> None:
    """The first model answers everything first: its side would be known."""
    prompt = make_prompt(answer_b=None, state=BenchmarkState.RUNNING)

    (shown,) = prompts_shown(prompt.comparison, who="ada")
    Comparison.objects.update(state=BenchmarkState.CANCELLED)
    prompt.comparison.refresh_from_db()
    (over,) = prompts_shown(prompt.comparison, who="ada")

    assert (shown["left"], shown["right"], shown["left_model"]) == (None, None, None)
    assert (over["left_model"], over["can_vote"]) == ("ada", False)
    assert over["left"] is not None


def test_a_vote_can_be_changed_and_counts_once(make_prompt: MakePrompt) -> None:
    prompt = make_prompt()

    for side in ("left", "left", "tie"):
        cast(prompt, side, who="ada")

    assert [vote.choice for vote in Vote.objects.all()] == ["tie"]
    changed, first = AuditEntry.objects.filter(action="vote")
    assert (first.before, first.after) == (None, {"prompt": 1, "choice": "a"})
    assert (changed.before, changed.after) == ({"choice": "a"}, {"choice": "tie"})


@pytest.mark.parametrize("side", ["a", "b", "", "LEFT", "left\0"])
def test_a_vote_that_is_none_is_refused_with_what_is_one(
    make_prompt: MakePrompt, side: str
) -> None:
    with pytest.raises(ComparisonInvalidError, match="left, right, tie, neither"):
        cast(make_prompt(), side, who="ada")


@pytest.mark.parametrize("answer", [None, {"error": "It broke off."}])
def test_nobody_votes_where_there_are_not_two_answers(
    make_prompt: MakePrompt, answer: dict[str, str] | None
) -> None:
    with pytest.raises(ComparisonInvalidError, match="not two answers"):
        cast(make_prompt(answer_b=answer), "left", who="ada")


def test_a_vote_is_somebodys(make_prompt: MakePrompt) -> None:
    with pytest.raises(ComparisonInvalidError, match="somebody's"):
        cast(make_prompt(), "left", who="")


def test_votes_are_tallied_by_model_and_task(make_prompt: MakePrompt) -> None:
    coding = [make_prompt(task="coding") for _ in range(3)]
    other = make_prompt(("bob", "cleo"), task="coding")
    general = make_prompt()
    for prompt, side in zip(coding, ("left", "left", "neither"), strict=True):
        cast(prompt, side, who="ada")
    cast(coding[0], "right", who="eve")
    cast(other, "left", who="ada")
    cast(general, "tie", who="ada")

    assert tallies() == {
        ("ada", "coding"): Tally(2, 1, 1),
        ("bob", "coding"): Tally(2, 2, 1),
        ("cleo", "coding"): Tally(0, 1, 0),
        ("ada", "general"): Tally(0, 0, 1),
        ("bob", "general"): Tally(0, 0, 1),
    }


def test_results_are_of_one_comparison_in_all_and_by_task(make_prompt: MakePrompt) -> None:
    first = make_prompt(task="coding")
    second = make_prompt(task="creative", is_swapped=True)
    for who in "abcdef":
        cast(first, "left", who=who)
        cast(second, "right", who=who)

    detail = detail_of(first.comparison, who="g")

    (whole, coding, creative) = detail["results"]
    assert (whole["wins"], whole["losses"], whole["better"]) == (12, 0, "ada")
    assert (coding["task"], coding["wins"], creative["task"]) == ("coding", 6, "creative")
    assert "more than chance" in whole["sentence"]
    assert detail["speeds"] == {"ada": 9.5, "bob": 8.0}
