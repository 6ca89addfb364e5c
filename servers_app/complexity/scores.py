"""What a classifier gives: a score of 0 to 10, and the factors that made it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from servers_app.complexity.prompts import Prompt

FAST_MAX: Final = 3.0  # up to here a small model does
BALANCED_MAX: Final = 7.0
MAX_SCORE: Final = 10.0
TIER_SCORES: Final[Mapping[str, float]] = {"fast": 1.5, "balanced": 5.0, "powerful": 8.5}

HEURISTIC: Final = "heuristic"
EMBEDDING: Final = "embedding"
DECISION: Final = "decision"

# (path, model id, JSON body) to the JSON answer of the server that has the model.
Ask: TypeAlias = Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]]


class ClassifierError(Exception):
    """A classifier's model gave an answer that no score can be read from."""


@dataclass(frozen=True, slots=True)
class Score:
    """How hard a prompt is; `by` is the name of the classifier.

    The factors are points of the score, by name; what they come to is cut to 0 and 10.
    """

    value: float
    by: str
    factors: Mapping[str, float] = field(default_factory=dict)


class Classifier(Protocol):
    """Scores prompts by asking a model."""

    name: str

    async def score(self, prompt: Prompt) -> Score:
        """Score one prompt.

        Raises:
            ClassifierError: the model's answer cannot be used.
            Exception: whatever `Ask` raises.
        """


def clipped(value: float) -> float:
    return round(min(MAX_SCORE, max(0.0, value)), 2)
