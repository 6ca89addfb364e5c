"""A profile of what is recommended: the best model of each tier that go together.

It is a profile like any other: validated, versioned, written down in the audit. It is not
activated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from django.db import transaction

from models_app.models import Tier
from models_app.task_kinds import TaskKind
from profiles_app.errors import Problem, ProfileInvalidError
from profiles_app.models import Profile
from profiles_app.nodes import known_nodes
from profiles_app.preset_models import SamplingPreset
from profiles_app.serializers import DEFAULT_TIERS
from profiles_app.services import save_document
from profiles_app.validation import validate
from servers_app.errors import NothingFitsError
from servers_app.recommend.fitting import CACHE_TYPES, Fit, Trial, contexts, trials
from servers_app.recommend.floor import ModelClass
from servers_app.recommend.service import Recommendation, Recommendations

MAX_OF_TIER: Final = 5  # models that are tried
MOST_CONTEXT: Final = 32768  # tokens of each; more of one would be less of another
CODE: Final = "code"  # the sampling preset for code


@dataclass(frozen=True, slots=True)
class Member:
    recommendation: Recommendation
    fit: Fit  # beside the other members
    run_settings: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        model, fit = self.recommendation.model, self.fit
        return {
            "model_id": model.model_id,
            "tier": model.tier,
            "context_length": fit.ctx_size,
            "cache_type": fit.cache_type,
            "n_gpu_layers": fit.n_gpu_layers,
            "ram_mib": fit.needed.ram_mib,
            "vram_mib": fit.needed.vram_mib,
            "run_settings": self.run_settings,
        }


@dataclass(frozen=True, slots=True)
class MadeProfile:
    """A profile that was made; `warnings` are what a validation says beside errors."""

    profile: Profile
    members: Sequence[Member]
    memory_mib: int
    room_mib: int
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "message": f"Profile '{self.profile.name}' created successfully",
            "name": self.profile.slug,
            "preset": self.profile.preset or None,
            "members": [member.as_json() for member in self.members],
            "memory_mib": self.memory_mib,
            "room_mib": self.room_mib,
            "warnings": list(self.warnings),
        }


@transaction.atomic
def make_profile(found: Recommendations, name: str, *, author: str = "") -> MadeProfile:
    """Make a profile called `name` of what is recommended; nothing is started by it.

    Raises:
        NothingFitsError: nothing is recommended, so there is nothing to make it of.
        ProfileExistsError: there is one of that name.
        ProfileInvalidError: the name is none, or what the base settings or a model's own say
            does not go with the engine.
    """
    members = choose_members(found)
    if not members:
        raise NothingFitsError(found.warning)
    profile = save_document(_document(found, members, name), author=author, is_new=True)
    validation = validate(profile)
    if validation.errors:
        problems = [Problem(each.line, each.path, each.message) for each in validation.errors]
        raise ProfileInvalidError(problems, of=f"Profile '{name}' not made")
    return MadeProfile(
        profile=profile,
        members=members,
        memory_mib=sum(member.fit.total_mib for member in members),
        room_mib=found.place.room.total_mib,
        warnings=[str(finding) for finding in validation.warnings],
    )


def choose_members(found: Recommendations) -> list[Member]:
    """Return the models, of each tier one at most, that have the most points together.

    With hardly any memory, and for embeddings, it is the one that is recommended first.
    """
    is_one = found.floor.model_class == ModelClass.SMALLEST or found.task == TaskKind.EMBEDDING
    if is_one:
        return _together(found, found.recommended[:1])
    for chosen in _choices(found.recommended):
        if _fit_all(found, chosen, _least(found)) is not None:
            return _together(found, chosen)
    return []


def _choices(recommended: Sequence[Recommendation]) -> list[list[Recommendation]]:
    """Return all choices of at most one model of each tier, the one with most points first."""
    by_tier: list[list[Recommendation | None]] = [
        [*[each for each in recommended if each.model.tier == tier][:MAX_OF_TIER], None]
        for tier in Tier
    ]
    choices = [[each for each in choice if each] for choice in product(*by_tier)]
    choices = [sorted(choice, key=recommended.index) for choice in choices if choice]
    return sorted(choices, key=lambda choice: -sum(each.score for each in choice))


def _together(found: Recommendations, chosen: Sequence[Recommendation]) -> list[Member]:
    """Give each of `chosen` the longest context that all of them can have."""
    for trial in _trials():
        if (fits := _fit_all(found, chosen, trial)) is not None:
            return [
                Member(each, fit, found.candidates.run_settings(each.model, fit))
                for each, fit in zip(chosen, fits, strict=True)
            ]
    return []


def _fit_all(
    found: Recommendations, chosen: Sequence[Recommendation], trial: Trial
) -> list[Fit] | None:
    """Return how they fit beside each other; the first of them has the GPUs first."""
    room, fits = found.place.room, []
    for each in chosen:
        trained = each.model.context_length
        cache_types = found.candidates.cache_types(each.model)
        own = Trial(
            min(trial.ctx_size, trained or trial.ctx_size),
            trial.cache_type if trial.cache_type in cache_types else cache_types[-1],
        )
        fit = found.candidates.fit(each.model, room, [own])
        if fit is None:
            return None
        fits.append(fit)
        room = room.less(fit.needed)
    return fits


def _trials() -> Iterator[Trial]:
    return trials(contexts(MOST_CONTEXT), CACHE_TYPES)


def _least(found: Recommendations) -> Trial:
    """Return the trial that takes the least memory."""
    return list(_trials())[-1]


def _document(found: Recommendations, members: Sequence[Member], name: str) -> dict[str, Any]:
    models = [member.recommendation.model for member in members]
    served = {model.tier for model in models}
    tiers = [dict(tier) for tier in DEFAULT_TIERS if tier["name"] in served]
    if tiers:
        tiers[-1]["max_score"] = None
    document: dict[str, Any] = {
        "name": name,
        "description": (
            f"Recommended for {found.task} on node {found.place.node}, "
            f"a {found.floor.machine_class} machine"
        ),
        "enabled_models": [
            {"model_id": model.model_id, "run_settings": member.run_settings}
            for model, member in zip(models, members, strict=True)
        ],
        "preset": _preset(found),
    }
    if len(known_nodes()) > 1:  # it was reckoned for this one
        document["placement"] = {"nodes": [found.place.node]}
    return {**document, "tier_config": tiers} if tiers else document


def _preset(found: Recommendations) -> str | None:
    """Return the sampling preset: that for code, or that of the machine; None without it."""
    wanted = [CODE] if found.task == TaskKind.CODING else []
    there = set(SamplingPreset.objects.values_list("name", flat=True))
    return next((name for name in [*wanted, found.floor.preset] if name in there), None)
