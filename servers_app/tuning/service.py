"""Ask for a search for better run settings of a model. Nothing is searched here."""

import math
from typing import Any, Final

from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.events import TASK, publish
from models_app.models import DiscoveredModel, ModelKind
from models_app.queue import enqueue
from servers_app import tasks
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, Benchmark, BenchmarkKind
from servers_app.errors import NotLaunchableError, TuningInvalidError
from servers_app.tuning.goals import Goal

MIN_MINUTES: Final = 1
MAX_MINUTES: Final = 240
DEFAULT_MINUTES: Final = 10
MAX_WHO_CHARS: Final = 150


def request_tuning(
    model: DiscoveredModel,
    *,
    minutes: float = DEFAULT_MINUTES,
    goal: str = Goal.BOTH,
    who: str = "",
    allow_lossy: bool = False,
) -> Benchmark:
    """Have a worker search for better run settings, for at most `minutes`.

    Nothing is applied by it. A search of that model that is under way is returned as it is.

    Args:
        goal: generation, prompt or both.
        allow_lossy: try KV types, too, that may cost quality: those below q8_0.

    Raises:
        TuningInvalidError: it cannot be searched so; the message says what is accepted.
        NotLaunchableError: the model's files are missing or broken.
        QueueUnavailableError: (after the commit) the queue did not take it; it is done
            when it is back.
    """
    plan = checked_plan(minutes, goal, allow_lossy=allow_lossy)
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    if model.kind in (ModelKind.EMBEDDING, ModelKind.RERANKER):
        msg = (
            f"{model.model_id} cannot be tuned: its kind is {model.kind}, and a search "
            "measures how fast a model generates. Tune a model that chats."
        )
        raise TuningInvalidError(msg)
    with transaction.atomic():
        # The model's row has two who ask at once do so one after the other.
        DiscoveredModel.objects.select_for_update().get(pk=model.pk)
        under_way = Benchmark.objects.filter(
            kind=BenchmarkKind.TUNE, model_id=model.model_id, state__in=BENCHMARK_UNDER_WAY
        ).first()
        if under_way is not None:
            return under_way
        benchmark = Benchmark.objects.create(
            kind=BenchmarkKind.TUNE,
            model_id=model.model_id,
            node=measuring_node(model),
            plan=plan,
            asked_by=who[:MAX_WHO_CHARS],
        )
        audit.record(Action.BENCHMARK, benchmark, after={"kind": "tune", **plan}, who=who)
    told = {"task": "benchmark", "benchmark_id": benchmark.pk, "state": benchmark.state}
    publish(TASK, told)
    enqueue(tasks.tune, benchmark.pk, node=benchmark.node, wants_result=False)
    return benchmark


def checked_plan(minutes: object, goal: object, *, allow_lossy: bool = False) -> dict[str, Any]:
    """Return the plan of a search.

    Raises:
        TuningInvalidError: the minutes or the goal are not as they must be.
    """
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    number = float(minutes) if is_number else math.nan  # type: ignore[arg-type]  # a number
    if not MIN_MINUTES <= number <= MAX_MINUTES:
        msg = f"minutes: give a number from {MIN_MINUTES} to {MAX_MINUTES}."
        raise TuningInvalidError(msg)
    if goal not in list(Goal):
        accepted = ", ".join(Goal)
        msg = f"goal: it is one of {accepted}."
        raise TuningInvalidError(msg)
    return {"minutes": number, "goal": str(goal), "allow_lossy": allow_lossy}
