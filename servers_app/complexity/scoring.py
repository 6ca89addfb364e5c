"""Which classifier scores a request, what comes in when it fails, and a score in words."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from servers_app.complexity import heuristic
from servers_app.complexity.decision import DecisionClassifier
from servers_app.complexity.embedding import EmbeddingClassifier, NotPreparedError
from servers_app.complexity.examples import Example
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import DECISION, EMBEDDING, HEURISTIC, Ask, Classifier, Score

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0  # that one classifier may take
PAUSE_S: Final = 15.0  # for which one that failed is not asked again

Kind: TypeAlias = Literal["auto", "heuristic", "embedding", "decision"]

_WORDS: Final = {
    HEURISTIC: {
        "base": "where every request begins",
        "length": "the length of the request, without what is pasted into it",
        "structure": "a list of items",
        "code": "code, or words of programming",
        "mathematics": "formulas, numbers and mathematical words",
        "asks": "several kinds of work asked for at once",
        "reasoning": "words such as prove, design, analyse or debug, in its language",
        "producing": "words such as explain, write or summarise, in its language",
        "routine": "words of small work, such as translate, correct or who",
        "constraints": "what the answer must keep to",
        "conversation": "what was said before",
        "tools": "results of tools that it must work with",
    },
    DECISION: {
        "trivial": "how likely the model finds it trivial",
        "easy": "how likely the model finds it easy",
        "ordinary": "how likely the model finds it ordinary",
        "demanding": "how likely the model finds it demanding",
        "hard": "how likely the model finds it hard",
    },
}


class Scorer:
    """Scores requests: decision, then embedding, then heuristic, from `kind` on; never raises.

    `auto` begins at the top where there is a model to ask, and is the heuristic where not.
    """

    def __init__(
        self,
        kind: Kind = "auto",
        ask: Ask | None = None,
        model: str = "",
        examples: Sequence[Example] = (),
    ) -> None:
        """Take what asks a model, the id that serves it, and examples that people labelled."""
        self._classifiers: list[Classifier] = []
        self._embedding: EmbeddingClassifier | None = None
        self._paused_until: dict[str, float] = {}  # monotonic seconds, by classifier
        self._failing: set[str] = set()
        if ask is None or not model or kind == HEURISTIC:
            return
        if kind != EMBEDDING:
            self._classifiers.append(DecisionClassifier(ask, model))
        self._embedding = EmbeddingClassifier(ask, model, examples)
        self._classifiers.append(self._embedding)

    def learn(self, examples: Sequence[Example]) -> None:
        """Replace the examples that people labelled; those that ship stay."""
        if self._embedding is not None:
            self._embedding.learn(examples)

    def score_now(self, prompt: Prompt) -> Score | None:
        """Score without waiting, where no model is to be asked; None: await `score`."""
        if any(map(self._may_ask, self._classifiers)):
            return None
        return heuristic.score(prompt)

    async def score(self, prompt: Prompt) -> Score:
        """Score a request, after TIMEOUT_S a classifier at the latest."""
        for classifier in self._classifiers:
            if not self._may_ask(classifier):
                continue
            if classifier.name in self._failing:  # others need not find out as well
                self._pause(classifier)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    score = await classifier.score(prompt)
            except NotPreparedError:
                continue
            except Exception as error:  # whatever it is, the request is routed
                self._fail(classifier, error)
                continue
            self._failing.discard(classifier.name)
            self._paused_until.pop(classifier.name, None)
            return score
        return heuristic.score(prompt)

    async def close(self) -> None:
        if self._embedding is not None:
            await self._embedding.close()

    def _may_ask(self, classifier: Classifier) -> bool:
        return time.monotonic() >= self._paused_until.get(classifier.name, 0.0)

    def _pause(self, classifier: Classifier) -> None:
        self._paused_until[classifier.name] = time.monotonic() + PAUSE_S

    def _fail(self, classifier: Classifier, error: Exception) -> None:
        self._pause(classifier)
        if classifier.name not in self._failing:
            self._failing.add(classifier.name)
            reason = str(error) or type(error).__name__
            logger.info("The %s classifier is left out: %s", classifier.name, reason)


def explain(score: Score) -> list[tuple[str, float, str]]:
    """Return each factor, its points and what it means, those that count most first."""
    words = _WORDS.get(score.by, {})
    return [
        (name, points, words.get(name, "an example that the request is like"))
        for name, points in sorted(score.factors.items(), key=lambda one: -abs(one[1]))
    ]
