"""How near texts are to each other, by their embeddings. Pure."""

import math
from collections.abc import Sequence


def ranked(
    query: Sequence[float], others: Sequence[Sequence[float]]
) -> list[tuple[int, float]]:
    """Return the places of `others` with their cosine to `query`, the nearest first.

    >>> ranked([1, 0], [[0, 1], [2, 0]])
    [(1, 1.0), (0, 0.0)]

    Raises:
        ValueError: they are not alike long.
    """
    scores = [(place, cosine(query, other)) for place, other in enumerate(others)]
    return sorted(scores, key=lambda each: -each[1])


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    lengths = math.hypot(*a) * math.hypot(*b)
    return dot / lengths if lengths else 0.0
