"""Which model suits a task best, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from django.db.models import Q

from models_app.models import DiscoveredModel
from models_app.task_kinds import TaskKind
from profiles_app.models import ProfileMember
from servers_app.errors import NoSuitableModelError, UnknownTaskKindError
from servers_app.manager.aptitude import aptitude, exclusion
from servers_app.manager.evidence import evidence_by_model, traits_of
from servers_app.models import Server, Wanted

TASKS: Final[tuple[str, ...]] = tuple(TaskKind.values)
_WRITES: Final = "it takes one that writes text."
NEEDS: Final[Mapping[str, str]] = dict.fromkeys(TASKS, _WRITES) | {
    TaskKind.VISION: "it takes one with a projector (mmproj).",
    TaskKind.EMBEDDING: "it takes an embedding model.",
}


class Suitability(NamedTuple):
    """How well a model suits a task."""

    model: DiscoveredModel
    score: float  # 0 to 10, to one decimal place
    reasons: tuple[str, ...]  # sentences, each with the points that it stands for


def suitability(models: Sequence[DiscoveredModel], task: str) -> list[Suitability]:
    """Return the models that can do a task, the best first.

    Those that cannot are left out: whose file is missing or broken, embedding models for
    anything but embeddings, rerankers, and for images whoever has no projector.

    Raises:
        UnknownTaskKindError: there is no such task; the message names those that there are.
    """
    return suitabilities(models, (require_task(task),))[task]


def suitabilities(
    models: Sequence[DiscoveredModel], tasks: Sequence[str] = TASKS
) -> dict[str, list[Suitability]]:
    """Return the same for several tasks. It costs three queries, none without models."""
    evidence = evidence_by_model() if models else {}
    launchable = [(model, traits_of(model)) for model in models if model.is_launchable]
    found: dict[str, list[Suitability]] = {}
    for task in tasks:
        fit = [
            Suitability(model, *aptitude(traits, evidence[model.model_id], task))
            for model, traits in launchable
            if not exclusion(traits, task)
        ]
        # Of two that are as good the smaller one: it leaves more room for others.
        found[task] = sorted(
            fit, key=lambda each: (-each.score, each.model.size_bytes, each.model.model_id)
        )
    return found


def select_best_model(task: str, *, only_enabled: bool = False) -> Suitability | None:
    """Return the model that suits a task best; None if no model can do it.

    Args:
        only_enabled: of those that the gateway serves: enabled in the active profile, or
            wanted or on request by somebody.

    Raises: as `suitability`.
    """
    best = suitability(candidates(only_enabled=only_enabled), task)
    return best[0] if best else None


def candidates(*, only_enabled: bool = False) -> list[DiscoveredModel]:
    models = DiscoveredModel.objects.select_related("root").defer("metadata", "warnings")
    if only_enabled:
        models = models.filter(is_enabled())
    return list(models.filter(is_missing=False, problem=""))


def is_enabled() -> Q:
    """Return which models the gateway serves."""
    members = ProfileMember.objects.filter(profile__is_active=True).values("model_id")
    served = Server.objects.filter(Q(wanted=Wanted.RUNNING) | Q(on_request=True))
    return Q(model_id__in=members) | Q(pk__in=served.values("model"))


def enabled_ids() -> set[str]:
    return set(DiscoveredModel.objects.filter(is_enabled()).values_list("model_id", flat=True))


def none_for(task: str, *, only_enabled: bool) -> NoSuitableModelError:
    """Return the error for a task that no model can do; it says which would, and what is here.

    Args:
        only_enabled: of those that are enabled.
    """
    models = candidates(only_enabled=only_enabled)
    kinds = Counter(model.kind for model in models)
    there = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    enabled = "enabled " if only_enabled else ""
    message = (
        f"No {enabled}model can do the task {task!r}: {NEEDS[task]} Here, by kind: {there}."
    )
    if only_enabled and (best := select_best_model(task)) is not None:
        message += f" {best.model.model_id} could: enable it."
    return NoSuitableModelError(message)


def require_task(task: str) -> str:
    """Return `task` if it is one.

    Raises:
        UnknownTaskKindError: it is not.
    """
    if task not in TASKS:
        raise UnknownTaskKindError(task, TASKS)
    return task
