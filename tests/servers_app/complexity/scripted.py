"""An `Ask` that answers as llama-server does, with an embedding or a decision model."""

import asyncio
from typing import Any
from zlib import crc32

DIMENSIONS = 64


class ScriptedAsk:
    """Embeds texts by their words; other paths get the answers that it is given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []  # path and model
        self.bodies: list[dict[str, Any]] = []
        self.embedded: list[str] = []
        self.failing: dict[str, Exception] = {}  # by path
        self.answers: dict[str, Any] = {}  # by path, in the place of the right ones
        self.delay_s = 0.0
        self.dimensions = DIMENSIONS

    async def __call__(self, path: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, model))
        self.bodies.append(body)
        await asyncio.sleep(self.delay_s)
        if path in self.failing:
            raise self.failing[path]
        if path in self.answers:
            answer: dict[str, Any] = self.answers[path]
            return answer
        self.embedded += body["input"]
        rows = [
            {"index": number, "embedding": self._vector(text)}
            for number, text in enumerate(body["input"])
        ]
        return {"object": "list", "data": rows[::-1]}  # the index counts, not the order

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def _vector(self, text: str) -> list[float]:
        vector = [0.01] * self.dimensions
        for word in text.lower().split():
            vector[crc32(word.encode()) % self.dimensions] += 1.0
        return vector


def decided(*probabilities: float) -> dict[str, Any]:
    """Return llama-server's answer to the question of a request's complexity."""
    levels = {str(level): one for level, one in enumerate(probabilities)}
    answer = {"type": "score", "score": 2.0, "probabilities": levels, "confidence": 0.5}
    return {"model": "laya", "answers": {"complexity": answer}, "usage": {"input_tokens": 90}}
