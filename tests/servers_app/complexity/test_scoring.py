"""Decision, embedding, heuristic: who scores, and who comes in when one fails."""

import asyncio
from typing import Any

import pytest

from servers_app.complexity import heuristic, scoring
from servers_app.complexity.decision import DecisionClassifier
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import ClassifierError
from servers_app.complexity.scoring import Scorer, explain
from servers_app.complexity.weights import WEIGHTS
from tests.servers_app.complexity.scripted import ScriptedAsk, decided

SYSTEMONE = "/v1/systemone"
EMBEDDINGS = "/v1/embeddings"
HI = Prompt(text="Explain tides.", text_chars=14, turns=1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scoring, "time", clock)
    return clock


async def warm(scorer: Scorer) -> None:
    """Have the examples embedded."""
    for _ in range(10_000):
        await asyncio.sleep(0)
        if (await scorer.score(HI)).by == "embedding":
            return
    pytest.fail("The examples were not embedded.")


@pytest.mark.parametrize(
    ("probabilities", "value"),
    [
        ((1, 0, 0, 0, 0), 0.5),
        ((0, 0, 1, 0, 0), 5.0),
        ((0, 0, 0, 0, 1), 9.5),
        ((0, 0, 0.5, 0.5, 0), 6.25),
    ],
)
async def test_a_decision_is_weighted_by_its_probabilities(
    probabilities: tuple[float, ...], value: float
) -> None:
    ask = ScriptedAsk()
    ask.answers[SYSTEMONE] = decided(*probabilities)

    score = await DecisionClassifier(ask, "laya").score(HI)

    assert (score.value, score.by) == (value, "decision")
    assert sum(score.factors.values()) == pytest.approx(value, abs=0.05)


async def test_the_question_is_one_that_llama_server_takes() -> None:
    ask = ScriptedAsk()
    ask.answers[SYSTEMONE] = decided(0, 0, 1, 0, 0)

    await DecisionClassifier(ask, "laya").score(HI)

    (body,) = ask.bodies
    (question,) = body["questions"].values()
    assert ask.asked == [(SYSTEMONE, "laya")]
    assert body["state"]["request"] == "Explain tides."
    assert question["type"] == "score"
    assert 2 <= len(question["criteria"]) <= 10  # its limits


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param({"answers": []}, id="no object"),
        pytest.param(decided(0.5, 0.5), id="too few levels"),
        pytest.param(decided(0, 0, 0, 0, 0), id="no sum"),
        pytest.param(decided(-1, 1, 1, 0, 0), id="negative"),
        pytest.param(decided(0, 0, float("nan"), 0, 1), id="NaN"),
    ],
)
async def test_a_decision_without_probabilities_is_refused(answer: dict[str, Any]) -> None:
    ask = ScriptedAsk()
    ask.answers[SYSTEMONE] = answer

    with pytest.raises(ClassifierError):
        await DecisionClassifier(ask, "laya").score(HI)


async def test_auto_asks_a_decision_model_first() -> None:
    ask = ScriptedAsk()
    ask.answers[SYSTEMONE] = decided(0, 0, 1, 0, 0)

    score = await Scorer("auto", ask, "laya").score(HI)

    assert (score.by, ask.paths()) == ("decision", [SYSTEMONE])


async def test_embedding_comes_in_for_decision_and_the_heuristic_for_both() -> None:
    ask = ScriptedAsk()
    ask.failing[SYSTEMONE] = RuntimeError("501: This model is not a decision model")
    scorer = Scorer("decision", ask, "minilm")

    first = await scorer.score(HI)  # while the examples are being embedded
    await warm(scorer)
    ask.failing[EMBEDDINGS] = RuntimeError("503")
    last = await scorer.score(HI)

    assert first == last == heuristic.score(HI)
    await scorer.close()


async def test_embedding_does_not_ask_for_a_decision() -> None:
    ask = ScriptedAsk()
    scorer = Scorer("embedding", ask, "minilm")

    await warm(scorer)

    assert SYSTEMONE not in ask.paths()
    await scorer.close()


async def test_one_that_failed_is_left_out_for_a_while(clock: Clock) -> None:
    ask = ScriptedAsk()
    ask.failing = {SYSTEMONE: OSError("refused"), EMBEDDINGS: OSError("refused")}
    scorer = Scorer("decision", ask, "laya")
    for _ in range(5):
        await scorer.score(HI)
    asked_while_failing = ask.paths().count(SYSTEMONE)
    ask.failing = {}
    ask.answers[SYSTEMONE] = decided(0, 0, 1, 0, 0)

    clock.now += scoring.PAUSE_S
    score = await scorer.score(HI)

    assert (asked_while_failing, score.by) == (1, "decision")
    await scorer.close()


async def test_one_request_finds_out_whether_it_works_again(clock: Clock) -> None:
    ask = ScriptedAsk()
    ask.failing[SYSTEMONE] = ask.failing[EMBEDDINGS] = OSError("refused")
    scorer = Scorer("decision", ask, "laya")
    await scorer.score(HI)
    clock.now += scoring.PAUSE_S
    ask.asked.clear()

    await asyncio.gather(*(scorer.score(HI) for _ in range(10)))

    assert ask.paths().count(SYSTEMONE) == 1
    await scorer.close()


async def test_a_classifier_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TIMEOUT_S", 0.01)
    ask = ScriptedAsk()
    ask.delay_s = 3600
    scorer = Scorer("auto", ask, "laya")

    score = await scorer.score(HI)

    assert score.by == "heuristic"
    await scorer.close()


async def test_a_client_that_leaves_ends_its_score() -> None:
    ask = ScriptedAsk()
    ask.delay_s = 3600
    task = asyncio.create_task(Scorer("decision", ask, "laya").score(HI))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "scorer",
    [
        pytest.param(Scorer(), id="auto without a model"),
        pytest.param(Scorer("decision", None, "laya"), id="nothing to ask with"),
        pytest.param(Scorer("heuristic", ScriptedAsk(), "laya"), id="heuristic"),
    ],
)
async def test_without_a_model_the_score_is_there_at_once(scorer: Scorer) -> None:
    assert scorer.score_now(HI) == await scorer.score(HI) == heuristic.score(HI)


async def test_with_a_model_the_score_is_waited_for_until_it_fails() -> None:
    ask = ScriptedAsk()
    ask.failing[SYSTEMONE] = ask.failing[EMBEDDINGS] = OSError("refused")
    scorer = Scorer("decision", ask, "laya")
    assert scorer.score_now(HI) is None

    async with asyncio.timeout(30):
        while scorer.score_now(HI) is None:
            await scorer.score(HI)
            await asyncio.sleep(0)

    assert scorer.score_now(HI) == heuristic.score(HI)
    await scorer.close()


async def test_every_factor_is_put_in_words() -> None:
    ask = ScriptedAsk()
    ask.answers[SYSTEMONE] = decided(0.1, 0.2, 0.4, 0.2, 0.1)
    decision = await Scorer("decision", ask, "laya").score(HI)

    for score in (decision, heuristic.score(HI)):
        lines = explain(score)

        assert {name: points for name, points, _ in lines} == score.factors
        assert [abs(points) for _, points, _ in lines] == sorted(
            map(abs, score.factors.values()), reverse=True
        )
        assert not any("example" in words for _, _, words in lines)


def test_the_factors_of_the_heuristic_all_have_words() -> None:
    factors = {name.partition(".")[0] for name in WEIGHTS} | {"base"}

    assert factors == scoring._WORDS["heuristic"].keys()
