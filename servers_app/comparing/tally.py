"""What votes come to: how often a model won, and whether that says anything.

Pure. A vote for "as good" or "neither" is a tie: it speaks for nobody.
"""

import math
from enum import StrEnum
from typing import Final, NamedTuple

LEVEL: Final = 0.05  # below it, chance alone is not believed
Z: Final = 1.959964  # of a 95 % interval


class Tally(NamedTuple):
    wins: int = 0
    losses: int = 0
    ties: int = 0

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    def plus(self, other: "Tally") -> "Tally":
        return Tally(self.wins + other.wins, self.losses + other.losses, self.ties + other.ties)

    @property
    def turned(self) -> "Tally":
        """The same votes, from the other model's side."""
        return Tally(self.losses, self.wins, self.ties)


class Standing(StrEnum):
    """What can be said after the votes."""

    A_BETTER = "a"
    B_BETTER = "b"
    OPEN = "open"


class Interval(NamedTuple):
    low: float
    high: float


class Result(NamedTuple):
    """What the votes say of A against B.

    `p` is how likely chance alone would be as one-sided as they are, or more so; None
    where nothing was decided. `share` is what A won of the decided ones.
    """

    tally: Tally  # of A
    standing: Standing
    p: float | None
    share: float | None
    interval: Interval | None


def result_of(tally: Tally) -> Result:
    """Judge the votes on A against B by the sign test, at 5 %."""
    if not tally.decided:
        return Result(tally, Standing.OPEN, None, None, None)
    p = sign_test(tally.wins, tally.losses)
    standing = Standing.OPEN
    if p < LEVEL:
        standing = Standing.A_BETTER if tally.wins > tally.losses else Standing.B_BETTER
    share = tally.wins / tally.decided
    return Result(tally, standing, p, share, wilson(tally.wins, tally.decided))


def sign_test(wins: int, losses: int) -> float:
    """Return how often a fair coin falls at least as one-sidedly, two-sided and exact.

    >>> round(sign_test(9, 1), 4), round(sign_test(7, 2), 4), sign_test(5, 5)
    (0.0215, 0.1797, 1.0)
    """
    count, most = wins + losses, max(wins, losses)
    tail = sum(math.comb(count, k) for k in range(most, count + 1))
    return min(1.0, 2 * tail / (1 << count))  # whole numbers: no count is too large


def wilson(wins: int, count: int) -> Interval:
    """Return where the true share lies, with 95 % confidence, by Wilson's score.

    >>> [round(end, 2) for end in wilson(9, 10)]
    [0.6, 0.98]
    """
    share, z2 = wins / count, Z * Z
    middle = share + z2 / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def sentence(result: Result, a: str, b: str) -> str:
    """Say in words what the votes came to.

    >>> sentence(result_of(Tally(9, 1, 2)), "qwen", "gemma")
    'qwen won 9 of 10 (2 ties): that is more than chance (p = 0.021).'
    """
    tally = result.tally
    ties = f" ({tally.ties} tie{'' if tally.ties == 1 else 's'})" if tally.ties else ""
    if result.p is None:
        voted = "Nobody has voted yet." if not tally.ties else f"No vote for either{ties}."
        return f"{voted} Too few votes to tell."
    leads = a if tally.wins >= tally.losses else b
    most = max(tally.wins, tally.losses)
    if tally.wins == tally.losses:
        return f"{a} and {b} won {most} each{ties}: no difference is seen."
    won = f"{leads} won {most} of {tally.decided}{ties}"
    shown = "p < 0.001" if result.p < 0.001 else f"p = {result.p:.3f}"
    if result.standing != Standing.OPEN:
        return f"{won}: that is more than chance ({shown})."
    if sign_test(tally.decided, 0) >= LEVEL:
        return f"{won}: too few votes to tell. It takes six that agree."
    return f"{won}: that may be chance ({shown})."
