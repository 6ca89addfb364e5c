"""A search for faster settings, apart from measuring: one knob after the other. Pure.

From the settings that a model has, each knob is turned to each of its values, and stays
where it was fastest. That is repeated while a round has found something and there is time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from servers_app.tuning.goals import Goal, Speed, gain
from servers_app.tuning.knobs import Knob, changed, turned

ENOUGH: Final = 0.02  # faster by less is not followed: it would be noise
MAX_ROUNDS: Final = 3

Settings: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of settings, and how fast it was; or why it was not measured."""

    knob: str
    changes: Settings  # from the settings that the search began with
    speed: Speed | None
    gain: float | None  # over the baseline; 1 is as fast
    is_kept: bool  # the search went on from here
    error: str = ""


@dataclass(slots=True)
class Search:
    """A search under way.

    Args:
        measure: gives the speed of settings, or a text that says why it could not.
        has_time: asked before each trial.
    """

    start: Mapping[str, Any]
    baseline: Speed
    goal: Goal
    measure: Callable[[Settings], Speed | str]
    has_time: Callable[[], bool]
    best: Settings = field(init=False)
    best_gain: float = field(init=False, default=1.0)
    is_cut: bool = field(init=False, default=False)  # the time was over before the end

    def __post_init__(self) -> None:
        self.best = dict(self.start)

    def run(self, knobs: Sequence[Knob]) -> Iterator[Trial]:
        """Yield each trial as it is done. No settings are measured twice."""
        seen = [dict(self.start)]
        for _ in range(MAX_ROUNDS):
            before = self.best_gain
            for knob in knobs:
                yield from self._turn(knob, seen)
                if self.is_cut:
                    return
            if self.best_gain <= before:
                return

    def _turn(self, knob: Knob, seen: list[Settings]) -> Iterator[Trial]:
        came_from = self.best  # each step from where the knob was found, not from the last
        for step in knob.steps:
            settings = turned(came_from, step)
            if settings is None or settings in seen:
                continue
            if not self.has_time():
                self.is_cut = True
                return
            seen.append(settings)
            yield self._tried(knob.name, settings)

    def _tried(self, knob: str, settings: Settings) -> Trial:
        changes = changed(self.start, settings)
        found = self.measure(settings)
        if isinstance(found, str):
            return Trial(knob, changes, None, None, is_kept=False, error=found)
        gained = gain(found, self.baseline, self.goal)
        is_kept = gained > self.best_gain * (1 + ENOUGH)
        if is_kept:
            self.best, self.best_gain = settings, gained
        return Trial(knob, changes, found, gained, is_kept)
