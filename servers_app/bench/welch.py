"""Whether the means of two samples differ: Welch's t-test, without a library.

The probability is the regularized incomplete beta function by its continued fraction
(Numerical Recipes, 6.4), good to ten digits here.
"""

import math
from collections.abc import Sequence
from statistics import fmean, variance
from typing import Final

STEPS: Final = 300
ENOUGH: Final = 1e-12
TINY: Final = 1e-300


def p_value(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return how likely means as far apart would be by chance, 0 to 1.

    None where that cannot be told: of a single sample nobody knows how it spreads.

    >>> round(p_value([1, 2, 3, 4], [2, 4, 6, 8]) or 0, 4)
    0.1516
    """
    if len(a) < 2 or len(b) < 2:
        return None
    of_a, of_b = variance(a) / len(a), variance(b) / len(b)
    if of_a + of_b == 0:
        return 1.0 if fmean(a) == fmean(b) else 0.0
    t_squared = (fmean(a) - fmean(b)) ** 2 / (of_a + of_b)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t_squared))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the values as they count where so many are looked at: Holm's correction.

    >>> holm([0.01, 0.04, None])
    [0.02, 0.04, None]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    most = 0.0
    for rank, (p, index) in enumerate(known):
        most = min(1.0, max(most, p * (len(known) - rank)))
        adjusted[index] = most
    return adjusted


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    front = math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction, by Lentz's method."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, STEPS):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _apart(1 + factor * d)
            c = _apart(1 + factor / c)
            value *= c * d
        if abs(c * d - 1) < ENOUGH:
            break
    return value


def _apart(value: float) -> float:
    """Keep a divisor away from zero."""
    return value if abs(value) > TINY else TINY
