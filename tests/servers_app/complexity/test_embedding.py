"""The score by the nearest labelled examples."""

import asyncio
from typing import Any

import pytest

from servers_app.complexity import embedding
from servers_app.complexity.embedding import EmbeddingClassifier, NotPreparedError
from servers_app.complexity.examples import Example, shipped
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import ClassifierError, Score
from tests.servers_app.complexity.scripted import ScriptedAsk

GERUND = "gerund gerund gerund"


def prompt_of(text: str) -> Prompt:
    return Prompt(text=text, text_chars=len(text), turns=1)


async def prepared(ask: ScriptedAsk, *examples: Example) -> EmbeddingClassifier:
    classifier = EmbeddingClassifier(ask, "minilm", examples)
    await classifier.prepare()
    return classifier


async def score_when_ready(classifier: EmbeddingClassifier, text: str) -> Score:
    async with asyncio.timeout(30):
        while True:
            try:
                return await classifier.score(prompt_of(text))
            except NotPreparedError:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("tier", ["fast", "balanced", "powerful"])
async def test_an_example_that_is_the_same_weighs_most(tier: str) -> None:
    classifier = await prepared(ScriptedAsk(), Example(GERUND, tier))

    score = await classifier.score(prompt_of(GERUND))

    first = next(iter(score.factors))
    assert first == f"{tier} (1.00): a relabelled request"


async def test_the_points_of_the_neighbours_add_up_to_the_score() -> None:
    classifier = await prepared(ScriptedAsk())

    score = await classifier.score(prompt_of("Prove that there are infinitely many twins"))

    assert score.by == "embedding"
    assert sum(score.factors.values()) == pytest.approx(score.value, abs=0.05)


async def test_like_requests_of_each_tier_differ_in_score() -> None:
    classifier = await prepared(ScriptedAsk())

    scores = [
        (await classifier.score(prompt_of(text))).value
        for text in (
            "What is the capital of Portugal?",
            "Explain how a heat pump works.",
            "Prove that there are infinitely many prime numbers of the form 6k+5.",
        )
    ]

    assert scores[0] < scores[1] < scores[2]


async def test_the_text_of_a_relabelled_request_is_not_shown() -> None:
    classifier = await prepared(ScriptedAsk(), Example("my secret diary", "fast"))

    score = await classifier.score(prompt_of("my secret diary"))

    assert "diary" not in str(score.factors)


async def test_each_example_is_embedded_once() -> None:
    ask = ScriptedAsk()
    classifier = await prepared(ask)

    await classifier.score(prompt_of("One"))
    await classifier.score(prompt_of("Two"))

    assert len(ask.embedded) == len(shipped()) + 2
    assert set(ask.asked) == {("/v1/embeddings", "minilm")}


async def test_many_first_requests_embed_the_examples_once() -> None:
    ask = ScriptedAsk()
    classifier = EmbeddingClassifier(ask, "minilm")

    await asyncio.gather(*(score_when_ready(classifier, "same") for _ in range(20)))

    assert len(ask.embedded) == len(shipped()) + 20
    await classifier.close()


async def test_a_request_does_not_wait_for_the_examples() -> None:
    classifier = EmbeddingClassifier(ScriptedAsk(), "minilm")

    with pytest.raises(NotPreparedError):
        await classifier.score(prompt_of("hi"))
    await classifier.close()


async def test_a_new_label_is_learnt_and_only_it_is_embedded() -> None:
    ask = ScriptedAsk()
    classifier = await prepared(ask)
    ask.embedded.clear()

    classifier.learn([Example(GERUND, "powerful")])
    scores = [(await classifier.score(prompt_of(GERUND))).value]
    async with asyncio.timeout(30):
        while scores[-1] == scores[0]:
            scores.append((await classifier.score(prompt_of(GERUND))).value)

    assert scores[-1] > scores[0]
    assert ask.embedded == [GERUND] * (len(scores) + 1)
    await classifier.close()


async def test_what_a_person_says_of_a_shipped_example_counts() -> None:
    text = shipped()[0].text
    classifier = await prepared(ScriptedAsk(), Example(text, "powerful"))

    score = await classifier.score(prompt_of(text))

    assert next(iter(score.factors)).startswith("powerful (1.00)")


async def test_the_number_of_examples_is_limited() -> None:
    ask = ScriptedAsk()

    await prepared(ask, *(Example(f"example {number}", "fast") for number in range(2000)))

    assert len(ask.embedded) == embedding.MAX_EXAMPLES


async def test_of_a_book_only_a_little_is_embedded() -> None:
    ask = ScriptedAsk()
    classifier = await prepared(ask)

    await classifier.score(prompt_of("word " * 100_000))

    assert len(ask.embedded[-1]) < 512


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="no data"),
        pytest.param([], id="too few"),
        pytest.param([{"embedding": []}], id="empty"),
        pytest.param([{"embedding": "AAAA"}], id="base64"),
        pytest.param([{"embedding": [[0.1, 0.2]]}], id="a vector a token: pooling none"),
        pytest.param([{"embedding": [1.0, float("nan")]}], id="NaN"),
        pytest.param([7], id="no object"),
    ],
)
async def test_an_answer_without_embeddings_is_refused(data: Any) -> None:
    ask = ScriptedAsk()
    classifier = await prepared(ask)
    ask.answers["/v1/embeddings"] = {"data": data}

    with pytest.raises(ClassifierError):
        await classifier.score(prompt_of("hi"))


async def test_another_model_behind_the_same_id_is_noticed() -> None:
    ask = ScriptedAsk()
    classifier = await prepared(ask)
    ask.dimensions = 32

    with pytest.raises(ClassifierError):
        await classifier.score(prompt_of("hi"))
    score = await score_when_ready(classifier, "hi")

    assert score.by == "embedding"
    await classifier.close()


async def test_a_failure_in_the_background_is_told_and_tried_again() -> None:
    ask = ScriptedAsk()
    ask.failing["/v1/embeddings"] = OSError("refused")
    classifier = EmbeddingClassifier(ask, "minilm")

    with pytest.raises(OSError, match="refused"):
        await score_when_ready(classifier, "hi")
    ask.failing.clear()

    assert (await score_when_ready(classifier, "hi")).by == "embedding"
    await classifier.close()


async def test_closing_ends_what_runs_in_the_background() -> None:
    ask = ScriptedAsk()
    ask.delay_s = 3600
    classifier = EmbeddingClassifier(ask, "minilm")
    with pytest.raises(NotPreparedError):
        await classifier.score(prompt_of("hi"))

    await classifier.close()

    assert len(asyncio.all_tasks()) == 1
