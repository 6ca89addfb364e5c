"""Ask for a comparison, follow it, cancel it. Nothing is compared here."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from models_app import audit
from models_app.audit_models import Action
from models_app.events import TASK, publish
from models_app.models import DiscoveredModel, ModelKind
from models_app.queue import enqueue
from models_app.task_kinds import TaskKind
from servers_app import tasks
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, BenchmarkState
from servers_app.comparing.prompts import Prompt, checked, parts_of
from servers_app.comparison_models import ComparedPrompt, Comparison
from servers_app.errors import (
    ComparisonInvalidError,
    ComparisonNotFoundError,
    NotLaunchableError,
)

POLL_S: Final = 0.1
MAX_NAME_CHARS: Final = 100
MAX_WHO_CHARS: Final = 150
MAX_SYSTEM_CHARS: Final = 20_000
MAX_TOKENS: Final = 8192
MAX_TEMPERATURE: Final = 2.0
MAX_SEED: Final = 2**31 - 1
DEFAULTS: Final[Mapping[str, Any]] = {
    "system": "",
    "max_tokens": 512,
    "temperature": 0.7,
    "seed": 1,
}
MAX_ID: Final = 2**63 - 1


def request_comparison(
    model_a: DiscoveredModel,
    model_b: DiscoveredModel,
    prompts: Sequence[Prompt],
    *,
    name: str = "",
    settings: Mapping[str, Any] | None = None,
    who: str = "",
) -> Comparison:
    """Have two models answer the same prompts, with the same settings and in the same order.

    A model that does not run is launched for this alone, enabled or not: whoever asks for
    the comparison asks for that. It is stopped afterwards.

    Args:
        settings: system, max_tokens, temperature, seed; what is left out is as in DEFAULTS.

    Raises:
        ComparisonInvalidError: it cannot be compared so; the message says what is accepted.
        NotLaunchableError: the files of a model are missing or broken.
        QueueUnavailableError: (after the commit) the queue did not take it; it is done
            when it is back.
    """
    prompts = checked(prompts)
    check_models(model_a, model_b, prompts)
    if len(name) > MAX_NAME_CHARS or "\0" in name:
        msg = f"name: give at most {MAX_NAME_CHARS} characters."
        raise ComparisonInvalidError(msg)
    values = checked_settings(settings or {})
    with transaction.atomic():
        comparison = Comparison.objects.create(
            name=name,
            model_a=model_a.model_id,
            model_b=model_b.model_id,
            settings=values,
            asked_by=who[:MAX_WHO_CHARS],
        )
        ComparedPrompt.objects.bulk_create(
            ComparedPrompt(
                comparison=comparison,
                position=position,
                task=prompt.task,
                prompt=prompt.text,
                is_swapped=secrets.randbelow(2) == 1,
            )
            for position, prompt in enumerate(prompts)
        )
        after = {
            "models": [model_a.model_id, model_b.model_id],
            "prompts": len(prompts),
            **values,
        }
        audit.record(Action.COMPARE, comparison, after=after, who=who)
    tell(comparison)
    enqueue(tasks.compare, comparison.pk, node=measuring_node(model_a), wants_result=False)
    return comparison


def cancel_comparison(comparison: Comparison, *, who: str = "") -> None:
    """Have it stop. One that waits is cancelled at once, one that runs within seconds.

    Answers that are there stay, and can be voted on. One that is over stays as it is.
    """
    with transaction.atomic():
        row = Comparison.objects.select_for_update().get(pk=comparison.pk)
        if row.state not in BENCHMARK_UNDER_WAY or not row.is_wanted:
            return
        row.is_wanted = False
        if row.state == BenchmarkState.QUEUED:
            row.state = BenchmarkState.CANCELLED
            row.finished_at = timezone.now()
        row.save(update_fields=["is_wanted", "state", "finished_at"])
        audit.record(Action.CANCEL, row, who=who)
        transaction.on_commit(partial(tell, row))


def get_comparison(pk: int) -> Comparison:
    """Return the comparison of that number.

    Raises:
        ComparisonNotFoundError: there is none.
    """
    found = Comparison.objects.filter(pk=pk).first() if 0 < pk <= MAX_ID else None
    if found is None:
        msg = (
            f"Comparison not found: {pk}. `manage.py compare --list` and "
            "GET /api/models/comparisons list them."
        )
        raise ComparisonNotFoundError(msg)
    return found


def get_prompt(comparison: Comparison, position: int) -> ComparedPrompt:
    """Return a prompt of a comparison, by its place, counted from 0.

    Raises:
        ComparisonNotFoundError: it has none there.
    """
    found = comparison.prompts.filter(position=position).first() if position >= 0 else None
    if found is None:
        msg = f"Prompt not found: comparison {comparison.pk} has none at position {position}."
        raise ComparisonNotFoundError(msg)
    found.comparison = comparison
    return found


def wait_for(
    comparison_id: int, *, seconds: float, until: Callable[[Comparison], bool] | None = None
) -> Comparison:
    """Return a comparison as it is when it is over, or `until` holds, or the time is.

    Raises:
        ComparisonNotFoundError: it is not there, or was deleted meanwhile.
    """
    deadline = time.monotonic() + seconds
    is_over = until or (lambda row: row.state not in BENCHMARK_UNDER_WAY)
    while True:
        comparison = get_comparison(comparison_id)
        if is_over(comparison) or time.monotonic() >= deadline:
            return comparison
        time.sleep(POLL_S)


def check_models(
    model_a: DiscoveredModel, model_b: DiscoveredModel, prompts: Sequence[Prompt]
) -> None:
    """Make sure that two models can be compared on some prompts.

    Raises:
        ComparisonInvalidError: they cannot; the message says why.
        NotLaunchableError: the files of one are missing or broken.
    """
    if model_a.pk == model_b.pk:
        msg = "Give two different models: one against itself tells nothing."
        raise ComparisonInvalidError(msg)
    wanted = {prompt.task for prompt in prompts}
    has_images = any(parts_of(prompt.text)[1] for prompt in prompts)
    for model in (model_a, model_b):
        if not model.is_launchable:
            why = model.problem or "its file is missing"
            msg = f"{model.model_id} cannot be started: {why}."
            raise NotLaunchableError(msg)
        embeds = model.kind == ModelKind.EMBEDDING
        does_not_fit = (
            wanted != {TaskKind.EMBEDDING} if embeds else TaskKind.EMBEDDING in wanted
        )
        if does_not_fit or model.kind == ModelKind.RERANKER:
            msg = (
                f"{model.model_id} cannot be compared on these prompts: its kind is "
                f"{model.kind}. Models that embed are compared on prompts of the task "
                "embedding, and those that chat on all others."
            )
            raise ComparisonInvalidError(msg)
        if has_images and model.kind != ModelKind.VISION:
            msg = f"{model.model_id} sees no images, and there are some among the prompts."
            raise ComparisonInvalidError(msg)


def checked_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of every request, those that were not given as DEFAULTS has them.

    Raises:
        ComparisonInvalidError: one is unknown, or out of its range.
    """
    for key in given:
        if key not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            msg = f"settings.{str(key)[:64]}: there is no such setting. Accepted: {known}."
            raise ComparisonInvalidError(msg)
    values = {**DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    judged = (
        ("max_tokens", _is_whole(values["max_tokens"], 1, MAX_TOKENS), f"1 to {MAX_TOKENS}"),
        ("seed", _is_whole(values["seed"], 0, MAX_SEED), f"0 to {MAX_SEED}"),
        ("temperature", _is_between(values["temperature"]), f"0 to {MAX_TEMPERATURE:g}"),
    )
    for key, is_fit, span in judged:
        if not is_fit:
            kind = "number" if key == "temperature" else "whole number"
            msg = f"settings.{key}: give a {kind} from {span}."
            raise ComparisonInvalidError(msg)
    system = values["system"]
    if not isinstance(system, str) or len(system) > MAX_SYSTEM_CHARS or "\0" in system:
        msg = f"settings.system: give a text of at most {MAX_SYSTEM_CHARS:,} characters."
        raise ComparisonInvalidError(msg)
    return values


def tell(comparison: Comparison) -> None:
    """Tell whoever listens that a comparison has changed."""
    publish(
        TASK,
        {
            "task": "comparison",
            "comparison_id": comparison.pk,
            "state": comparison.state,
        },
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_between(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= MAX_TEMPERATURE  # type: ignore[operator]  # a number
