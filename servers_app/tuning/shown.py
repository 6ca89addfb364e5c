"""What a search looks like: in the admin, on the terminal and as JSON."""

from statistics import median
from typing import Any, Final, NamedTuple

from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, Benchmark, BenchmarkState
from servers_app.tuning.outcome import sentence, settings_words

_LOOKS: Final = {"better": "ready", "worse": "failed"}


class TrialLine(NamedTuple):
    """A line of the table of trials."""

    number: int
    settings: str
    prompt: str
    generation: str
    gain: str
    is_kept: bool
    error: str


class GainLine(NamedTuple):
    """One figure before and after, measured beside each other at the end."""

    label: str
    before: str
    after: str
    percent: str
    verdict: str
    looks: str  # of a badge


class ShownTuning(NamedTuple):
    sentence: str  # empty while it is under way
    settings: str  # what would be applied; empty for nothing
    gains: list[GainLine]
    drift: str
    trials: list[TrialLine]
    baseline: TrialLine | None
    error_at_end: str


def tuning_of(benchmark: Benchmark) -> ShownTuning:
    outcome: dict[str, Any] = benchmark.outcome
    is_over = benchmark.state not in BENCHMARK_UNDER_WAY and "baseline" in outcome
    is_finished = benchmark.state == BenchmarkState.FINISHED
    baseline = outcome.get("baseline")
    return ShownTuning(
        sentence=sentence(outcome) if is_over and is_finished else "",
        settings=settings_words(outcome.get("settings") or {}) if is_finished else "",
        gains=[_gain(name, found) for name, found in (outcome.get("gain") or {}).items()],
        drift=_drift(outcome.get("drift") or {}),
        trials=[_trial(trial) for trial in outcome.get("trials", ())],
        baseline=_baseline(baseline) if baseline else None,
        error_at_end=outcome.get("error_at_end", ""),
    )


def as_json(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "id": benchmark.pk,
        "kind": benchmark.kind,
        "model_id": benchmark.model_id,
        "node": benchmark.node,
        "build": benchmark.build,
        "machine": benchmark.machine,
        "state": benchmark.state,
        "error": benchmark.error,
        "progress": benchmark.progress,
        "note": benchmark.note,
        "plan": benchmark.plan,
        "settings_before": benchmark.settings,
        "outcome": benchmark.outcome,
        "sentence": tuning_of(benchmark).sentence,
        "asked_by": benchmark.asked_by,
        "asked_at": benchmark.asked_at,
        "started_at": benchmark.started_at,
        "finished_at": benchmark.finished_at,
    }


def _trial(trial: dict[str, Any]) -> TrialLine:
    gain = trial["gain"]
    return TrialLine(
        number=trial["number"],
        settings=settings_words(trial["changes"]),
        prompt=_speed(trial["prompt"]),
        generation=_speed(trial["generation"]),
        gain="-" if gain is None else f"{100 * (gain - 1):+.0f} %",
        is_kept=trial["is_kept"],
        error=trial["error"],
    )


def _baseline(speed: dict[str, list[float]]) -> TrialLine:
    return TrialLine(
        number=0,
        settings="as it was",
        prompt=_speed(speed["prompt"]),
        generation=_speed(speed["generation"]),
        gain="-",
        is_kept=True,
        error="",
    )


def _gain(name: str, found: dict[str, Any]) -> GainLine:
    direction = found["direction"]
    verdict = f"{direction}, more than noise" if direction in _LOOKS else "no more than noise"
    return GainLine(
        label=name.capitalize(),
        before=_spread(found["before"]),
        after=_spread(found["after"]),
        percent=f"{found['percent']:+.1f} %",
        verdict=verdict,
        looks=_LOOKS.get(direction, "stopped"),
    )


def _drift(drift: dict[str, Any]) -> str:
    """Say whether the machine was another one at the end; empty if it was not."""
    moved = [
        f"{name} {found['percent']:+.0f} %"
        for name, found in drift.items()
        if found["direction"] in _LOOKS
    ]
    if not moved:
        return ""
    return (
        f"The machine itself changed meanwhile ({', '.join(moved)} with the settings that it "
        "had): something else ran, or it grew warm. The gain is against the end, not the "
        "beginning."
    )


def _speed(samples: list[float] | None) -> str:
    if not samples:
        return "-"
    return f"{median(samples):.1f} ({min(samples):.1f} to {max(samples):.1f})"


def _spread(found: dict[str, Any]) -> str:
    return f"{found['median']:.1f} ± {found['stdev']:.1f}"
