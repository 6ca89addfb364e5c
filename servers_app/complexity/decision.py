"""A score from a decision model: llama-server's POST /v1/systemone, since about b11361.

The model is given a state and a question with levels, lowest first, and answers with the
probability of each level in one pass, without generating a token.
"""

from math import isclose
from typing import Any, Final, NamedTuple

from servers_app.complexity.prompts import Prompt, ends
from servers_app.complexity.scores import DECISION, Ask, ClassifierError, Score, clipped

PATH: Final = "/v1/systemone"
_QUESTION: Final = "complexity"
_INSTRUCTIONS: Final = "How much work and reasoning does a good answer to this request take?"


class _Level(NamedTuple):
    name: str  # of the factor
    points: float
    criterion: str


_LEVELS: Final = (
    _Level("trivial", 0.5, "A greeting, thanks, or one fact that most people know."),
    _Level("easy", 2.5, "One step: translate, correct or shorten a text, find a detail in it."),
    _Level("ordinary", 5.0, "An explanation, a summary, a letter, or one small function."),
    _Level("demanding", 7.5, "Several steps that depend on one another, or many constraints."),
    _Level("hard", 9.5, "A proof, a design with trade-offs, a deep analysis, or much code."),
)


class DecisionClassifier:
    name = DECISION

    def __init__(self, ask: Ask, model: str) -> None:
        self._ask = ask
        self._model = model

    async def score(self, prompt: Prompt) -> Score:
        """Score a prompt; the factors are the points of each level times its probability.

        Raises:
            ClassifierError: the model's answer cannot be used.
            Exception: whatever `Ask` raises: 501 where the model is no decision model.
        """
        answer = await self._ask(PATH, self._model, self._body(prompt))
        probabilities = _probabilities(answer)
        factors = {
            level.name: level.points * probability
            for level, probability in zip(_LEVELS, probabilities, strict=True)
        }
        return Score(
            clipped(sum(factors.values())),
            DECISION,
            {name: round(points, 2) for name, points in factors.items() if round(points, 2)},
        )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self._model,
            "state": {
                "request": ends(prompt.text),
                "length_in_characters": prompt.text_chars,
                "earlier_turns": max(0, prompt.turns - 1),
                "has_images": prompt.has_images,
                "answer_must_be_json": prompt.has_schema,
                "tools": prompt.tools,
                "tool_results": prompt.tool_results,
            },
            "questions": {
                _QUESTION: {
                    "type": "score",
                    "instructions": _INSTRUCTIONS,
                    "criteria": [level.criterion for level in _LEVELS],
                }
            },
        }


def _probabilities(answer: dict[str, Any]) -> list[float]:
    """Read {"answers": {ID: {"probabilities": {"0": ..., "1": ...}}}}."""
    found: Any = answer
    for name in ("answers", _QUESTION, "probabilities"):
        found = found.get(name) if isinstance(found, dict) else None
    values = (
        [found.get(str(at)) for at in range(len(_LEVELS))] if isinstance(found, dict) else []
    )
    numbers = [one for one in values if isinstance(one, int | float) and 0 <= one <= 1]
    if len(numbers) != len(_LEVELS) or not isclose(sum(numbers), 1, abs_tol=0.01):
        message = "The answer has no probability for each level."
        raise ClassifierError(message)
    return [float(one) for one in numbers]
