"""Names that leave the choice of a model to what is known of models: tasks, and `current`."""

from collections.abc import Iterable, Sequence
from typing import Final

from servers_app.gateway.errors import NothingChosenError

TASK: Final = "task:"  # before a kind of task: the model that suits it best
CURRENT: Final = "current"  # the model that somebody switched to
_MAX_SHOWN_CHARS: Final = 100


def unknown_task(task: str, tasks: Iterable[str]) -> NothingChosenError:
    """Return the error for a task that there is not; its message names those that there are."""
    there = ", ".join(f"{TASK}{name}" for name in tasks)
    return NothingChosenError(
        f"There is no task '{task[:_MAX_SHOWN_CHARS]}'. Available: {there}"
    )


def none_suits(task: str, kinds: Sequence[str], *, restricted: bool) -> NothingChosenError:
    """Return the error for a task that no model can do.

    Args:
        kinds: of the models that there are, one for each.
        restricted: to those of an API key.
    """
    there = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none"
    whose = "that this API key may use" if restricted else "that is enabled"
    return NothingChosenError(
        f"No model {whose} can do the task '{task}'. Models by kind: {there}. "
        f"`manage.py select {task} --all` shows which could."
    )


def none_current(
    model_id: str, available: Sequence[str], *, restricted: bool
) -> NothingChosenError:
    """Return the error for `current` where there is none.

    Args:
        model_id: that is current and not enabled; empty: nobody has switched.
        available: the names that there are.
        restricted: to the models of an API key, which need not know of another one.
    """
    if restricted:
        why = "is none that this API key may use"
    elif model_id:
        why = f"is {model_id}, which is not enabled. Enable it, or switch to another one"
    else:
        why = "is not chosen yet: POST /ai/switch-model chooses it"
    there = ", ".join(available) or "none"
    return NothingChosenError(f"The current model {why}. Available: {there}")
