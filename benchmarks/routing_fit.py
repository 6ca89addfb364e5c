"""Fit the weights of the heuristic: an ordinal logistic regression, in plain Python.

Its two cuts, between fast and balanced and between balanced and powerful, are moved to
scores 3 and 7; a weight is then in points of the score. Signs are fixed beforehand, so that
a factor never means the opposite of its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import Final

from servers_app.complexity.scores import BALANCED_MAX, FAST_MAX

STEPS: Final = 300
RATE: Final = 0.06
RIDGE: Final = 0.004  # per example
_NEGATIVE: Final = ("routine.",)
_CUTS: Final = ("cut.fast", "cut.balanced")


@dataclass(frozen=True, slots=True)
class Fit:
    base: float
    weights: Mapping[str, float]

    def score(self, features: Mapping[str, float]) -> float:
        points = sum(self.weights.get(name, 0.0) * value for name, value in features.items())
        return min(10.0, max(0.0, self.base + points))


def fit(rows: Sequence[Mapping[str, float]], classes: Sequence[int]) -> Fit:
    """Fit weights to features and their classes: 0 fast, 1 balanced, 2 powerful.

    Every class counts as much as the others, however many examples it has.
    """
    names = sorted({name for row in rows for name in row})
    values = dict.fromkeys(names, 0.0) | dict(zip(_CUTS, (0.5, 2.5), strict=True))
    share = [len(rows) / (3 * classes.count(kind)) / len(rows) for kind in range(3)]
    mean, square = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    for step in range(1, STEPS + 1):
        gradient = {name: RIDGE * values[name] for name in names} | dict.fromkeys(_CUTS, 0.0)
        for row, kind in zip(rows, classes, strict=True):
            slope, low, high = _slopes(row, kind, values)
            for name, value in row.items():
                gradient[name] += share[kind] * slope * value
            gradient[_CUTS[0]] += share[kind] * low
            gradient[_CUTS[1]] += share[kind] * high
        for name, one in gradient.items():  # Adam
            mean[name] = 0.9 * mean[name] + 0.1 * one
            square[name] = 0.999 * square[name] + 0.001 * one * one
            move = mean[name] / (1 - 0.9**step)
            values[name] -= RATE * move / (sqrt(square[name] / (1 - 0.999**step)) + 1e-9)
        for name in names:
            values[name] = _signed(name, values[name])
    low_cut, high_cut = (values[name] for name in _CUTS)
    scale = (BALANCED_MAX - FAST_MAX) / (high_cut - low_cut)
    weights = {name: round(values[name] * scale, 3) for name in names}
    return Fit(
        round(FAST_MAX - low_cut * scale, 3),
        {name: weight for name, weight in weights.items() if weight},
    )


def _slopes(
    row: Mapping[str, float], kind: int, values: Mapping[str, float]
) -> tuple[float, float, float]:
    """Return how the negative log likelihood changes with the sum and with the two cuts."""
    total = sum(values[name] * value for name, value in row.items())
    below_low = _sigmoid(values[_CUTS[0]] - total)
    below_high = _sigmoid(values[_CUTS[1]] - total)
    if kind == 0:
        return 1 - below_low, below_low - 1, 0.0
    if kind == 2:
        return -below_high, 0.0, below_high
    steep_low, steep_high = below_low * (1 - below_low), below_high * (1 - below_high)
    chance = max(1e-9, below_high - below_low)
    low, high = steep_low / chance, -steep_high / chance
    return -(low + high), low, high


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-max(-40.0, min(40.0, value))))


def _signed(name: str, value: float) -> float:
    return min(0.0, value) if name.startswith(_NEGATIVE) else max(0.0, value)
