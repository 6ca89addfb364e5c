"""Bars as SVG: how much of a whole is taken, and by what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 1000  # of the whole, in the picture's own units


@dataclass(frozen=True, slots=True)
class Part:
    number: int  # from 1: the style sheet has a colour for each
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Bar:
    text: str  # what it shows, for those who do not see it
    parts: list[Part]


def bar(text: str, amounts: Sequence[float], whole: float) -> Bar:
    """Return the parts that `amounts` are of a whole, one after the other, as far as it goes.

    >>> [(part.x, part.width) for part in bar("", [1, 5], 4).parts]
    [(0, 250), (250, 750)]
    """
    parts: list[Part] = []
    x = 0
    for number, amount in enumerate(amounts, 1):
        width = min(round(WIDTH * amount / whole), WIDTH - x) if whole > 0 else 0
        if width > 0:
            parts.append(Part(number, x, width))
            x += width
    return Bar(text, parts)
