"""How samples of one figure spread, and whether two of them differ by more than that."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean, median, stdev
from typing import Any, Final

from servers_app.bench.welch import p_value

RELEVANT: Final = 0.05  # of the first: nobody notices less, and machines drift by as much
UNLIKELY: Final = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """Samples of one figure, in a few words; none of them is left out as an outlier."""

    count: int
    median: float
    mean: float
    stdev: float  # of the samples; 0 of a single one
    min: float
    max: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Direction(StrEnum):
    """What a difference of two figures comes to."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "noise"
    UNKNOWN = "unknown"  # a sample is too few to know how it spreads


@dataclass(frozen=True, slots=True)
class Difference:
    """How the second of two figures differs from the first."""

    before: Spread
    after: Spread
    change: float  # of the medians, as a part of the first: 0.12 is 12 % more
    p: float | None  # Welch's, two-sided

    @property
    def percent(self) -> float:
        return round(100 * self.change, 1)


def spread(samples: Sequence[float]) -> Spread:
    """Return how `samples` spread.

    Raises:
        ValueError: there are none.

    >>> spread([4.0, 1.0, 1.0]).median
    1.0
    """
    if not samples:
        msg = "There are no samples."
        raise ValueError(msg)
    return Spread(
        count=len(samples),
        median=median(samples),
        mean=fmean(samples),
        stdev=stdev(samples) if len(samples) > 1 else 0.0,
        min=min(samples),
        max=max(samples),
    )


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return how `after` differs from `before`.

    Raises:
        ValueError: there is no sample of one of them.
    """
    first, second = spread(before), spread(after)
    change = (second.median - first.median) / first.median if first.median else 0.0
    return Difference(first, second, change, p_value(before, after))


def is_noise(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether two figures differ by no more than chance, or by too little to matter."""
    found = difference(before, after)
    return judge(found, found.p) in (Direction.NOISE, Direction.UNKNOWN)


def judge(found: Difference, p: float | None, *, more_is_better: bool = True) -> Direction:
    """Say what a difference comes to.

    It is more than noise if three things are so: it is one that matters (RELEVANT), it is
    larger than both spreads together, and it would hardly come by chance (UNLIKELY).

    Args:
        p: as it counts where several figures are looked at.
    """
    if p is None:
        return Direction.UNKNOWN
    apart = abs(found.after.median - found.before.median)
    is_more = (
        abs(found.change) >= RELEVANT
        and apart > found.before.stdev + found.after.stdev
        and p < UNLIKELY
    )
    if not is_more:
        return Direction.NOISE
    return Direction.BETTER if (found.change > 0) == more_is_better else Direction.WORSE
