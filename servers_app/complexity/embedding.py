"""A score from the labelled examples that a prompt is nearest to, by an embedding model."""

import asyncio
from collections.abc import Sequence
from math import dist, exp, hypot, isfinite
from operator import add, itemgetter
from typing import Any, Final, TypeAlias

from servers_app.complexity.examples import Example, shipped
from servers_app.complexity.prompts import Prompt, ends
from servers_app.complexity.scores import (
    EMBEDDING,
    TIER_SCORES,
    Ask,
    ClassifierError,
    Score,
    clipped,
)

PATH: Final = "/v1/embeddings"
NEIGHBOURS: Final = 8
# A comparison costs microseconds of the event loop: this many, 3 ms at 1,024 dimensions.
MAX_EXAMPLES: Final = 600
_BATCH: Final = 16  # examples a request, so that other work gets in between
_PREPARE_TIMEOUT_S: Final = 120.0
_MAX_DIMENSIONS: Final = 8192

Vector: TypeAlias = tuple[float, ...]


class NotPreparedError(ClassifierError):
    """The examples are being embedded. Ask again in a moment."""


class EmbeddingClassifier:
    """The nearest examples' vote. Each example is embedded once, in the background."""

    name = EMBEDDING

    def __init__(self, ask: Ask, model: str, examples: Sequence[Example] = ()) -> None:
        """Take examples beside those that ship; the first ones count, up to MAX_EXAMPLES."""
        self._ask = ask
        self._model = model
        self._known: dict[str, Vector] = {}  # by text
        self._index: list[tuple[Example, Vector]] = []
        self._indexed: tuple[Example, ...] = ()  # what the index was made of
        self._centre: Vector = ()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None  # of the task
        self._examples = _chosen(examples)

    def learn(self, examples: Sequence[Example]) -> None:
        """Replace the examples beside those that ship; only new ones are embedded.

        Until they are, the former ones vote.
        """
        chosen = _chosen(examples)
        if chosen != self._examples:
            self._examples = chosen

    async def score(self, prompt: Prompt) -> Score:
        """Score a prompt by its nearest examples.

        Raises:
            NotPreparedError: the examples have no vectors yet; they are being fetched.
            ClassifierError: the model's answer is no embedding.
            Exception: whatever `Ask` raises.
        """
        if self._indexed is not self._examples:
            self._prepare_in_background()
        if not self._index:
            message = "The examples are being embedded."
            raise NotPreparedError(message)
        (vector,) = await self._embed([prompt.text])
        if len(vector) != len(self._centre):  # the id serves another model now
            self._known.clear()
            self._index, self._indexed = [], ()
            message = f"The model {self._model} changed the size of its embeddings."
            raise ClassifierError(message)
        return _vote(_unit(vector, self._centre), self._index)

    async def prepare(self) -> None:
        """Embed the examples that are new.

        Raises:
            ClassifierError: the model's answer is no embedding.
            Exception: whatever `Ask` raises.
        """
        examples = self._examples
        missing = [one.text for one in examples if one.text not in self._known]
        for start in range(0, len(missing), _BATCH):
            texts = missing[start : start + _BATCH]
            self._known |= dict(zip(texts, await self._embed(texts), strict=True))
        self._known = {one.text: self._known[one.text] for one in examples}
        vectors = list(self._known.values())
        if len({len(vector) for vector in vectors}) != 1:
            self._known.clear()
            message = f"The embeddings of {self._model} differ in size."
            raise ClassifierError(message)
        # The vectors of many models lie in a narrow cone; about its centre they differ more.
        centre = [0.0] * len(vectors[0])
        for vector in vectors:
            centre = list(map(add, centre, vector))
            await asyncio.sleep(0)  # others use the loop, too
        middle = tuple(value / len(vectors) for value in centre)
        index = []
        for example, vector in zip(examples, vectors, strict=True):
            index.append((example, _unit(vector, middle)))
            await asyncio.sleep(0)
        self._index, self._indexed, self._centre = index, examples, middle

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def _prepare_in_background(self) -> None:
        if self._task is not None and not self._task.done():
            return
        failed, self._failure = self._failure, None
        if failed is not None:
            raise failed
        self._task = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        try:
            async with asyncio.timeout(_PREPARE_TIMEOUT_S):
                await self.prepare()
        except Exception as error:  # raised by the next score
            self._failure = error

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        body = {"model": self._model, "input": [ends(text) or " " for text in texts]}
        answer = await self._ask(PATH, self._model, body)
        rows = answer.get("data")
        if not isinstance(rows, list) or len(rows) != len(texts):
            message = f"{self._model} gave no embedding for each text."
            raise ClassifierError(message)
        ordered = sorted(enumerate(rows), key=_place)
        return [_vector(row) for _, row in ordered]


def _chosen(given: Sequence[Example]) -> tuple[Example, ...]:
    """Return the given examples and those that ship, each text once: what people say counts."""
    examples: dict[str, Example] = {}
    for one in (*given, *shipped()):
        if one.tier in TIER_SCORES and one.text.strip():
            examples.setdefault(one.text, one)
    return tuple(examples.values())[:MAX_EXAMPLES]


def _place(numbered: tuple[int, Any]) -> int:
    number, row = numbered
    place = row.get("index") if isinstance(row, dict) else None
    return place if isinstance(place, int) else number


def _vector(row: object) -> Vector:
    values = row.get("embedding") if isinstance(row, dict) else None
    message = "The answer has no embedding: it must be a list of numbers, pooled to one."
    if not isinstance(values, list) or not 0 < len(values) <= _MAX_DIMENSIONS:
        raise ClassifierError(message)
    try:
        vector = tuple(map(float, values))
    except (TypeError, ValueError) as error:
        raise ClassifierError(message) from error
    if not all(map(isfinite, vector)):
        raise ClassifierError(message)
    return vector


def _unit(vector: Vector, centre: Vector) -> Vector:
    moved = [value - middle for value, middle in zip(vector, centre, strict=True)]
    length = hypot(*moved) or 1.0
    return tuple(value / length for value in moved)


def _vote(vector: Vector, index: Sequence[tuple[Example, Vector]]) -> Score:
    """Let the nearest vote: of two examples, the nearer by far counts far more.

    Of unit vectors, math.dist gives the cosine, ten times as fast as a sum of products here.
    """
    likeness = [(1 - dist(vector, other) ** 2 / 2, example) for example, other in index]
    nearest = sorted(likeness, key=itemgetter(0), reverse=True)[:NEIGHBOURS]
    best, worst = nearest[0][0], nearest[-1][0]
    width = max(best - worst, 1e-6)
    votes = [exp(2 * (similarity - best) / width) for similarity, _ in nearest]
    factors: dict[str, float] = {}
    total = 0.0
    for (similarity, example), vote in zip(nearest, votes, strict=True):
        points = TIER_SCORES[example.tier] * vote / sum(votes)
        name = f"{example.tier} ({similarity:.2f}): {example.shown}"
        factors[name] = round(factors.get(name, 0.0) + points, 2)
        total += points
    return Score(clipped(total), EMBEDDING, factors)
