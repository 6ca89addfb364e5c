"""Points of each feature. Written by `python -m benchmarks.routing --fit`."""

from collections.abc import Mapping
from typing import Final

BASE: Final = 1.294
WEIGHTS: Final[Mapping[str, float]] = {
    "asks.kinds": 0.532,
    "code.fences": 0.61,
    "code.marks": 0.46,
    "code.words": 0.409,
    "constraints.words": 1.085,
    "conversation.history": 0.219,
    "conversation.turns": 0.319,
    "length.ask": 1.961,
    "mathematics.formulas": 0.145,
    "mathematics.numbers": 0.489,
    "mathematics.words": 1.357,
    "producing.any": 1.246,
    "reasoning.any": 3.088,
    "reasoning.more": 1.118,
    "routine.alone": -0.921,
    "routine.any": -1.205,
    "structure.lists": 0.078,
    "tools.results": 0.285,
}
