"""How well a model suits a task, by what is known of it."""

from dataclasses import replace

import pytest

from models_app.task_kinds import TaskKind
from servers_app.comparing.tally import Tally
from servers_app.manager.aptitude import (
    MAX_VOTED,
    WANTS,
    Evidence,
    Traits,
    aptitude,
    exclusion,
    words_of,
)

PLAIN = Traits(
    kind="text",
    billions=7.0,
    active_billions=None,
    quantization="Q4_K_M",
    context_length=32_768,
    is_coder=False,
    is_instruct=True,
    is_thinking=False,
    has_tools=False,
    has_projector=False,
    words=frozenset({"qwen"}),
)
CODER = replace(PLAIN, is_coder=True)
THINKER = replace(PLAIN, is_thinking=True)
UNKNOWN = Evidence()


def score(traits: Traits, task: str = "general", evidence: Evidence = UNKNOWN) -> float:
    return aptitude(traits, evidence, task)[0]


def reasons(traits: Traits, task: str = "general", evidence: Evidence = UNKNOWN) -> str:
    return " ".join(aptitude(traits, evidence, task)[1])


@pytest.mark.parametrize("task", TaskKind.values)
def test_every_task_has_its_wishes_and_scores_stay_between_0_and_10(task: str) -> None:
    least = replace(PLAIN, billions=0.1, is_instruct=False, is_coder=True, quantization="IQ1_S")
    most = replace(
        PLAIN, billions=700.0, is_coder=True, is_thinking=True, has_tools=True,
        quantization="F16", words=frozenset({"writer"}),
    )  # fmt: skip
    bad = Evidence(1.0, 1.0, 100, 100, votes={task: Tally(losses=100)})
    good = Evidence(500.0, 9000.0, votes={task: Tally(wins=100)})

    assert task in WANTS
    assert 0.0 <= score(least, task, bad) < score(most, task, good) <= 10.0


def test_a_coder_is_best_for_coding_and_not_for_stories() -> None:
    assert score(CODER, "coding") > score(PLAIN, "coding")
    assert score(CODER, "creative") < score(PLAIN, "creative")
    assert "It was trained for code (+2.5)." in reasons(CODER, "coding")


def test_a_model_that_thinks_is_best_for_analysis() -> None:
    assert score(THINKER, "analysis") - score(PLAIN, "analysis") == pytest.approx(2.0)
    assert "It thinks before it answers (+2.0)." in reasons(THINKER, "analysis")


def test_each_doubling_of_its_size_counts() -> None:
    sizes = (0.135, 1.0, 4.0, 14.0, 32.0, 70.0)

    scores = [score(replace(PLAIN, billions=size)) for size in sizes]

    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert score(replace(PLAIN, billions=600.0)) == scores[-1]


def test_of_a_mixture_of_experts_counts_what_lies_between_all_and_those_at_work() -> None:
    mixture = replace(PLAIN, billions=30.0, active_billions=3.0)

    assert score(replace(PLAIN, billions=3.0)) < score(mixture)
    assert score(mixture) < score(replace(PLAIN, billions=30.0))
    assert "It has 30 billion parameters, 3 billion of them at work" in reasons(mixture)


def test_few_bits_cost_points() -> None:
    scores = [
        score(replace(PLAIN, quantization=name))
        for name in ("Q2_K", "Q3_K_M", "Q4_K_M", "Q8_0")
    ]

    assert scores == sorted(scores)
    assert len(set(scores)) == 4


def test_what_is_measured_as_fast_gains_and_what_is_slow_loses() -> None:
    fast = Evidence(generation_tokens_per_s=80.0)
    slow = Evidence(generation_tokens_per_s=2.0)

    assert score(PLAIN, evidence=slow) < score(PLAIN) < score(PLAIN, evidence=fast)
    assert "It writes 80 tokens a second, as benchmarked (+1.5)." in reasons(
        PLAIN, evidence=fast
    )
    assert "Nobody has measured how fast it is (+0.8)." in reasons(PLAIN)


def test_without_a_benchmark_its_requests_say_how_fast_it_is() -> None:
    few = Evidence(requests=3, served_tokens_per_s=60.0)
    many = Evidence(requests=50, served_tokens_per_s=60.0)

    assert "Nobody has measured" in reasons(PLAIN, evidence=few)
    assert "It writes 60 tokens a second, as its requests of late had it" in reasons(
        PLAIN, evidence=many
    )


def test_for_embeddings_it_counts_how_fast_it_reads() -> None:
    embedder = replace(PLAIN, kind="embedding")
    reads_fast = Evidence(prompt_tokens_per_s=5000.0, generation_tokens_per_s=1.0)

    assert score(embedder, "embedding", reads_fast) > score(embedder, "embedding")
    assert "It reads 5,000 tokens a second" in reasons(embedder, "embedding", reads_fast)


def test_a_few_votes_count_little_and_many_count_much() -> None:
    one = Evidence(votes={"coding": Tally(wins=1)})
    many = Evidence(votes={"coding": Tally(wins=60)})
    even = Evidence(votes={"coding": Tally(10, 10, 3)})

    gained = [
        score(PLAIN, "coding", each) - score(PLAIN, "coding") for each in (one, many, even)
    ]

    assert gained[0] == pytest.approx(0.4, abs=0.1)
    assert gained[1] == pytest.approx(MAX_VOTED, abs=0.3)
    assert gained[2] == pytest.approx(0.0)


def test_votes_count_for_the_task_that_they_were_about() -> None:
    voted = Evidence(votes={"coding": Tally(wins=20)})

    assert score(PLAIN, "creative", voted) == score(PLAIN, "creative")
    assert "People preferred it in 20 of 20 comparisons for coding" in reasons(
        PLAIN, "coding", voted
    )


def test_failures_cost_points_and_one_of_few_costs_little() -> None:
    once = Evidence(requests=1, failures=1)
    always = Evidence(requests=500, failures=500)

    assert score(PLAIN) - score(PLAIN, evidence=once) <= 0.3
    assert score(PLAIN) - score(PLAIN, evidence=always) > 2.5
    assert "500 of its last 500 requests failed (-2.9)." in reasons(PLAIN, evidence=always)


def test_a_writer_is_known_by_its_name() -> None:
    writer = replace(PLAIN, words=words_of("Gemma The Writer 9B"))

    assert score(writer, "creative") > score(PLAIN, "creative")
    assert "It is called writer (+1.0)." in reasons(writer, "creative")


def test_a_model_of_unknown_size_is_taken_for_a_small_one() -> None:
    unsized = replace(PLAIN, billions=None)

    assert score(unsized) < score(PLAIN)
    assert "Its size is not known" in reasons(unsized)


@pytest.mark.parametrize(
    ("kind", "projector", "can"),
    [
        pytest.param("text", False, {"general", "coding", "analysis", "creative"}, id="text"),
        pytest.param("vision", True, set(TaskKind.values) - {"embedding"}, id="vision"),
        pytest.param("embedding", False, {"embedding"}, id="embedding"),
        pytest.param("reranker", False, set(), id="reranker"),
    ],
)
def test_what_a_kind_of_model_cannot_do_it_is_excluded_from(
    kind: str, projector: bool, can: set[str]
) -> None:
    traits = replace(PLAIN, kind=kind, has_projector=projector)

    assert {task for task in TaskKind.values if not exclusion(traits, task)} == can


def test_a_vision_model_without_its_projector_is_told_so() -> None:
    assert "projector" in exclusion(replace(PLAIN, kind="vision"), "vision")
