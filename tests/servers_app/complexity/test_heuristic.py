"""The score that needs no model."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.routing_sample import load
from servers_app.complexity import heuristic
from servers_app.complexity.examples import shipped
from servers_app.complexity.features import extract
from servers_app.complexity.prompts import Prompt, read_prompt
from servers_app.complexity.scores import BALANCED_MAX, FAST_MAX
from servers_app.complexity.weights import WEIGHTS

MEASURED_ACCURACY = 0.87


def score_of(text: str, **values: Any) -> float:
    body = {"messages": [{"role": "user", "content": text}], **values}
    return heuristic.score(read_prompt("/v1/chat/completions", body)).value


@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "Thanks!",
        "What is the capital of Peru?",
        "Translate to German: The shop is closed.",
        "¿Cuál es la capital de Chile?",
        "英国的首都是哪里?",
    ],
)
def test_small_work_is_at_most_3(text: str) -> None:
    assert score_of(text) <= FAST_MAX


@pytest.mark.parametrize(
    "text",
    [
        "Explain how a bicycle stays upright.",
        "Write a Python function that reverses the words of a sentence.",
        "Erkläre, wie ein Kühlschrank funktioniert.",
        "Explique comment on fabrique le fromage.",
        "Объясни, почему небо голубое, на простом примере.",
    ],
)
def test_ordinary_work_is_between_3_and_7(text: str) -> None:
    assert FAST_MAX < score_of(text) <= BALANCED_MAX


@pytest.mark.parametrize(
    "text",
    [
        "Prove that the set of primes is infinite, and derive a bound for the n-th prime.",
        "Design a queue for 10,000 tenants: fairness, failure modes, and the trade-offs.",
        "Beweise, dass die Folge konvergiert, und begründe jeden Schritt ohne Analysis.",
        "Proyecta y analiza un sistema de pagos; justifica cada decisión y compara tres.",
        "设计一个分布式缓存系统,分析一致性与故障恢复,并比较三种方案的优缺点,证明不会丢数据。",
    ],
)
def test_work_of_many_steps_is_above_7(text: str) -> None:
    assert score_of(text) > BALANCED_MAX


def test_a_long_text_makes_no_hard_task_of_a_translation() -> None:
    pasted = "The committee met on Tuesday. The harvest was good. " * 200

    assert score_of(f"Translate into Spanish: {pasted}") <= BALANCED_MAX


def test_each_further_kind_of_work_and_each_constraint_adds() -> None:
    steps = [
        "Explain this protocol.",
        "Explain this protocol. Prove that it terminates.",
        "Explain this protocol. Prove that it terminates without a clock.",
    ]

    assert all(low < high for low, high in pairwise(map(score_of, steps)))


def test_a_conversation_and_the_results_of_tools_add() -> None:
    alone = Prompt(text="And then?", text_chars=9, turns=1)
    deep = Prompt(text="And then?", text_chars=9, turns=6, history_chars=20_000)
    fed = Prompt(text="And then?", text_chars=9, turns=1, tool_results=4)

    assert heuristic.score(alone).value < heuristic.score(deep).value
    assert heuristic.score(alone).value < heuristic.score(fed).value


@pytest.mark.parametrize("text", ["hi", "Explain tides.", "What is 2 + 2?"])
def test_the_factors_add_up_to_the_score(text: str) -> None:
    score = heuristic.score(Prompt(text=text, text_chars=len(text), turns=1))

    assert score.by == "heuristic"
    total = min(10.0, max(0.0, sum(score.factors.values())))
    assert score.value == pytest.approx(total, abs=0.05)


@given(st.text(max_size=400))
def test_any_text_has_a_score_from_0_to_10(text: str) -> None:
    assert 0 <= heuristic.score(Prompt(text=text, text_chars=len(text))).value <= 10


def test_the_weights_and_the_features_have_the_same_names() -> None:
    seen = {name for row in load() for name in extract(row.prompt)}
    shown = {name for one in shipped() for name in extract(Prompt(text=one.text))}

    assert seen | shown == set(WEIGHTS)


def test_the_sample_is_scored_as_well_as_when_the_weights_were_fitted() -> None:
    sample = load()

    right = 0
    for row in sample:
        score = heuristic.score(row.prompt).value
        right += (score > FAST_MAX) + (score > BALANCED_MAX) == row.tier

    assert len(sample) >= 300
    assert right / len(sample) >= MEASURED_ACCURACY


def test_no_prompt_is_both_in_the_sample_and_among_the_examples() -> None:
    assert not {row.text for row in load()} & {one.text for one in shipped()}


def test_the_factors_can_be_kept_as_json() -> None:
    score = heuristic.score(Prompt(text="Explain tides.", text_chars=14))

    assert json.loads(json.dumps(score.factors)) == score.factors
