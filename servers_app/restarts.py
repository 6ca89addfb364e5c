"""Whether a server that has ended is tried again, and how soon."""

import random as random_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from servers_app.exits import Cause, Ending

# As Profile.restart_policy has them.
ON_FAILURE: Final = "on-failure"
NEVER: Final = "never"

FIRST_DELAY_S: Final = 1.0
MAX_DELAY_S: Final = 60.0
JITTER: Final = 0.2  # more or less, so that servers that failed together do not start together
STABLE_S: Final = 60.0  # one that was ready for so long begins anew
MAX_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Again:
    """It is tried again after `delay_s` seconds."""

    delay_s: float
    failed_at: list[float]  # Unix times, for the row


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It is not tried again until somebody asks for it; `why` is for them."""

    why: str
    failed_at: list[float]  # Unix times, for the row


def decide(  # noqa: PLR0913 - each is a fact of its own
    policy: str,
    *,
    ending: Ending,
    failed_at: Sequence[float],
    now: float,
    ready_seconds: float | None,
    limit: int,
    window_s: float,
    random: Callable[[], float] = random_module.random,
) -> Again | GivenUp:
    """Return whether a server is tried again that ended just now, unasked.

    The delay is 1 s, 2 s, 4 s and so on to 60 s by the failures since it was last ready
    for a minute, a fifth more or less, and never above 60 s.

    Args:
        policy: the profile's: unless-stopped, on-failure or never. By `on-failure` one
            that somebody stopped, by a signal that was not MAGI's, is left alone.
        failed_at: the Unix times of its failures so far, as the last call gave them.
        now: Unix time, seconds.
        ready_seconds: for how long it had been ready; None if it never was.
        limit: it is given up at so many failures within `window_s` seconds, this one
            among them.
        random: gives from 0 to below 1.
    """
    is_stable = ready_seconds is not None and ready_seconds >= STABLE_S
    # Those of a clock that was ahead are not counted: they would for as long as it was.
    failures = [] if is_stable else [at for at in failed_at if at <= now]
    failures = [*failures, now][-max(limit, MAX_KEPT) :]
    lately = sum(now - at <= window_s for at in failures)
    if policy == NEVER:
        why = f"{ending.sentence} Its profile's restart_policy is never."
    elif policy == ON_FAILURE and ending.cause == Cause.STOPPED:
        why = f"{ending.sentence} Its profile's restart_policy is on-failure."
    elif ending.is_permanent and ready_seconds is None:
        why = ending.sentence
    elif lately >= limit:
        times = "once" if lately == 1 else f"{lately} times"
        why = f"It failed {times} in {window_s:g} s; the last time: {ending.sentence}"
    else:
        return Again(_delay_s(len(failures), random()), failures)
    return GivenUp(why, failures)


def _delay_s(failures: int, chance: float) -> float:
    """Return the seconds to wait after so many failures; `chance` is from 0 to below 1."""
    delay_s = FIRST_DELAY_S * 2.0 ** min(failures - 1, 16)
    return min(MAX_DELAY_S, min(MAX_DELAY_S, delay_s) * (1 + JITTER * (2 * chance - 1)))
