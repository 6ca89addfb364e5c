"""What a search came to: as JSON for its row, and in a sentence. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from servers_app.bench.spread import Direction, difference, judge
from servers_app.tuning.goals import Goal, Speed
from servers_app.tuning.search import Trial

WORDS: Final = {"prompt": "prompt", "generation": "generation"}


def trial_json(number: int, trial: Trial, seconds: float) -> dict[str, Any]:
    return {
        "number": number,
        "knob": trial.knob,
        "changes": trial.changes,
        "prompt": None if trial.speed is None else rounded(trial.speed.prompt),
        "generation": None if trial.speed is None else rounded(trial.speed.generation),
        "gain": None if trial.gain is None else round(trial.gain, 4),
        "is_kept": trial.is_kept,
        "error": trial.error,
        "seconds": round(seconds, 1),
    }


def speed_json(speed: Speed) -> dict[str, Any]:
    return {"prompt": rounded(speed.prompt), "generation": rounded(speed.generation)}


def gain_json(before: Speed, after: Speed) -> dict[str, Any]:
    """Return how two speeds differ, each figure with its spread and what that comes to."""
    return {name: _difference(getattr(before, name), getattr(after, name)) for name in WORDS}


def is_better(gained: Mapping[str, Any], goal: Goal) -> bool:
    """Whether what was found may be recommended: the goal is reached, and nothing is worse."""
    directions = {name: gained[name]["direction"] for name in WORDS}
    wanted = WORDS if goal == Goal.BOTH else (str(goal),)
    if Direction.WORSE in directions.values():
        return False
    return any(directions[name] == Direction.BETTER for name in wanted)


def gain_words(gained: Mapping[str, Any]) -> str:
    """Say each figure's change, and whether it is more than noise.

    >>> line = {"percent": 18.2, "direction": "better"}
    >>> gain_words({"prompt": {"percent": -1.0, "direction": "noise"}, "generation": line})
    '-1 % prompt, no more than noise; +18 % generation, more than noise'
    """
    said = []
    for name, word in WORDS.items():
        found = gained[name]
        is_more = found["direction"] in (Direction.BETTER, Direction.WORSE)
        noise = "more than noise" if is_more else "no more than noise"
        said.append(f"{found['percent']:+.0f} % {word}, {noise}")
    return "; ".join(said)


def sentence(outcome: Mapping[str, Any]) -> str:
    """Say in words what a search came to."""
    trials = outcome.get("trials", ())
    if outcome.get("is_cut") and not trials:
        return "Nothing was tried: the time is too short for it. Give it more minutes."
    tried = f"{len(trials)} tried"
    failed = sum(bool(trial["error"]) for trial in trials)
    if failed:
        tried = f"{tried}, {failed} of them failed"
    if outcome.get("is_cut"):
        tried = f"{tried}, then the time was over"
    gained = outcome.get("gain")
    if not outcome.get("settings") or gained is None:
        found = outcome.get("found") or {}
        if found and gained is not None:
            what = settings_words(found)
            return f"Nothing better was found ({tried}): {what} gave {gain_words(gained)}."
        return f"Nothing better was found ({tried}). The settings stay as they are."
    return f"{settings_words(outcome['settings'])}: {gain_words(gained)} ({tried})."


def settings_words(settings: Mapping[str, Any]) -> str:
    """Return settings in a line.

    >>> settings_words({"threads": 7, "flash_attn": "on"})
    'threads 7, flash_attn on'
    """
    return ", ".join(
        f"{name} {'as llama-server has it' if value is None else value}"
        for name, value in settings.items()
    )


def rounded(samples: tuple[float, ...]) -> list[float]:
    return [round(sample, 3) for sample in samples]


def _difference(before: tuple[float, ...], after: tuple[float, ...]) -> dict[str, Any]:
    found = difference(before, after)
    return {
        "before": found.before.as_json(),
        "after": found.after.as_json(),
        "percent": found.percent,
        "p": found.p,
        "direction": str(judge(found, found.p)),
    }
