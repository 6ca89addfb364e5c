"""One search from its baseline to its outcome, within its time."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from servers_app.bench.worker import machine as machine_words
from servers_app.errors import BenchmarkCancelledError, BenchmarkError
from servers_app.tuning.goals import Goal, Speed
from servers_app.tuning.knobs import changed, knobs
from servers_app.tuning.outcome import (
    gain_json,
    is_better,
    settings_words,
    speed_json,
    trial_json,
)
from servers_app.tuning.search import Search
from servers_app.tuning.trials import FIRM_SAMPLES, SAMPLES, Bench

# How long the end takes, against one trial: two firm measurements, and some air.
END_TRIALS: Final = 2 * FIRM_SAMPLES / SAMPLES + 0.5


class Told(NamedTuple):
    progress: float  # 0 to 1
    note: str
    outcome: dict[str, Any]


class Session:
    """A search under way.

    Args:
        deadline: monotonic seconds. What is found must be confirmed by then.
        tell: called after each trial.
    """

    def __init__(
        self,
        bench: Bench,
        goal: Goal,
        deadline: float,
        *,
        allow_lossy: bool,
        tell: Callable[[Told], None],
    ) -> None:
        self._bench = bench
        self._goal = goal
        self._began = time.monotonic()
        self._deadline = deadline
        self._allow_lossy = allow_lossy
        self._tell = tell
        self._build = ""
        self._start: dict[str, Any] = {}
        self._trial_s = 0.0  # the longest so far
        self._last_s = 0.0
        self._outcome: dict[str, Any] = {"goal": str(goal), "trials": []}

    def run(self) -> dict[str, Any]:
        """Return the outcome.

        Raises:
            BenchmarkError: not even the baseline could be measured.
            BenchmarkCancelledError: it was stopped before there was an outcome.
        """
        self._start = self._bench.start()
        self._told("Measuring how fast it is now.")
        baseline = self._measured(self._start, FIRM_SAMPLES)
        self._trial_s = self._last_s * SAMPLES / FIRM_SAMPLES
        self._outcome["baseline"] = speed_json(baseline)
        search = self._searched(baseline)
        self._outcome["is_cut"] = search.is_cut
        found = changed(self._start, search.best)
        self._outcome["found"] = found
        if found:
            self._confirm(baseline, search.best, found)
        return self._outcome

    def columns(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """Return what its row gets of an outcome."""
        best = outcome.get("best_again") or outcome["baseline"]
        speed = Speed(tuple(best["prompt"]), tuple(best["generation"]))
        return {
            "build": self._build,
            "machine": machine_words(),
            "settings": self._start,
            "outcome": outcome,
            "prompt_tokens_per_s": speed.prompt_median,
            "generation_tokens_per_s": speed.generation_median,
        }

    def _searched(self, baseline: Speed) -> Search:
        search = Search(self._start, baseline, self._goal, self._tried, self._has_time)
        turned = knobs(
            self._start, self._bench.machine(), self._goal, allow_lossy=self._allow_lossy
        )
        trials: list[dict[str, Any]] = self._outcome["trials"]
        self._told("Trying other settings.")
        for trial in search.run(turned):
            trials.append(trial_json(len(trials) + 1, trial, self._last_s))
            self._told(f"Tried {settings_words(trial.changes)}.")
        return search

    def _confirm(
        self, baseline: Speed, best: Mapping[str, Any], found: Mapping[str, Any]
    ) -> None:
        """Measure the baseline again and what was found beside it, and judge the gain."""
        self._told("Measuring both again, to be sure.")
        try:
            again = self._measured(self._start, FIRM_SAMPLES)
            best_again = self._measured(best, FIRM_SAMPLES)
        except BenchmarkCancelledError:
            if time.monotonic() < self._deadline:
                raise  # somebody did not want it any more
            self._outcome["is_cut"] = True
            return
        except BenchmarkError as error:
            self._outcome["error_at_end"] = str(error)
            return
        gained = gain_json(again, best_again)
        self._outcome |= {
            "baseline_again": speed_json(again),
            "best_again": speed_json(best_again),
            "gain": gained,
            "drift": gain_json(baseline, again),
        }
        if is_better(gained, self._goal):
            self._outcome["settings"] = dict(found)

    def _tried(self, settings: dict[str, Any]) -> Speed | str:
        began = time.monotonic()
        try:
            return self._measured(settings, SAMPLES)
        except BenchmarkCancelledError:
            if time.monotonic() < self._deadline:
                raise
            return "The time was over."
        except BenchmarkError as error:
            return str(error)
        finally:
            self._last_s = time.monotonic() - began
            self._trial_s = max(self._trial_s, self._last_s)

    def _measured(self, settings: Mapping[str, Any], samples: int) -> Speed:
        speed, build, self._last_s = self._bench.measure(settings, samples)
        self._build = build
        return speed

    def _has_time(self) -> bool:
        """Whether another trial leaves enough for the end."""
        left = self._deadline - time.monotonic()
        return left > self._trial_s * (1 + END_TRIALS)

    def _told(self, note: str) -> None:
        whole = max(1e-9, self._deadline - self._began)
        progress = min(0.99, (time.monotonic() - self._began) / whole)
        self._tell(Told(progress, note, self._outcome))
