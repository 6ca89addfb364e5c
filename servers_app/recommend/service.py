"""Which models are recommended for a task on a node, and which are not, and why."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from models_app.copies import nodes_of_all
from models_app.models import DiscoveredModel
from models_app.task_kinds import TaskKind
from servers_app.manager.aptitude import exclusion
from servers_app.manager.evidence import traits_of
from servers_app.manager.suitability import Suitability, require_task, suitability
from servers_app.planning import node_of
from servers_app.recommend.candidates import Candidates
from servers_app.recommend.fitting import MIB, Fit
from servers_app.recommend.floor import Floor, ModelClass, floor_of
from servers_app.recommend.places import Place
from servers_app.recommend.ranking import advantages, losses
from servers_app.recommend.speed import Speed

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 10


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model that fits, with what it would be launched with; `score` is 0 to 10."""

    model: DiscoveredModel
    score: float
    suitability: float
    fit: Fit
    speed: Speed
    fits_now: bool  # beside what runs now
    run_settings: dict[str, Any]
    reasons: tuple[str, ...]

    @property
    def parts(self) -> dict[str, int | bool]:
        """What it takes: MiB of each part, as estimated, and of each memory."""
        fit, estimate = self.fit, self.fit.estimate
        return {
            "weights_mib": _mib(estimate.weights_bytes),
            "projector_mib": _mib(estimate.projector_bytes),
            "kv_cache_mib": _mib(estimate.kv_cache_bytes),
            "compute_mib": _mib(estimate.compute_bytes),
            "estimated_mib": _mib(estimate.total_bytes),
            "ram_mib": fit.needed.ram_mib,
            "vram_mib": fit.needed.vram_mib,
            "total_mib": fit.total_mib,
            "is_measured": fit.is_measured,
        }

    def as_json(self) -> dict[str, Any]:
        model, fit = self.model, self.fit
        return {
            "model_id": model.model_id,
            "display_name": model.display_name,
            "tier": model.tier,
            "kind": model.kind,
            "size_params": model.size_params,
            "quantization": model.quantization,
            "score": self.score,
            "suitability": self.suitability,
            "context_length": fit.ctx_size,
            "trained_context_length": model.context_length,
            "cache_type": fit.cache_type,
            "n_gpu_layers": fit.n_gpu_layers,
            "layers": fit.layers,
            "memory": self.parts,
            "speed": self.speed.as_json(),
            "fits_now": self.fits_now,
            "run_settings": self.run_settings,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class NotRecommended:
    model_id: str
    display_name: str
    why: str

    def as_json(self) -> dict[str, str]:
        return {
            "model_id": self.model_id, "display_name": self.display_name, "why": self.why
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recommendations:
    """All that is recommended, the best first, and why the others are not.

    `warning` says what to do where nothing fits; it is mostly empty.
    """

    task: str
    place: Place
    floor: Floor
    candidates: Candidates
    recommended: Sequence[Recommendation]
    others: Sequence[NotRecommended]
    warning: str

    def as_json(self, limit: int = DEFAULT_LIMIT) -> dict[str, Any]:
        room = self.place.room
        return {
            "task": self.task,
            "node": self.place.node,
            "room": {
                "ram_mib": room.ram_mib,
                "vram_mib": room.vram_mib,
                "detail": self.place.words(),
            },
            "floor": self.floor.as_json(),
            "warning": self.warning,
            "count": len(self.recommended),
            "recommendations": [each.as_json() for each in self.recommended[:limit]],
            "not_recommended": [each.as_json() for each in self.others[:MAX_LIMIT]],
        }


def recommend(place: Place, task: str = TaskKind.GENERAL) -> Recommendations:
    """Hold every model of the registry against a node and a task.

    The queries do not grow with the models; each costs some milliseconds of reckoning.

    Raises:
        UnknownTaskKindError: there is no such task.
    """
    require_task(task)
    models = list(DiscoveredModel.objects.select_related("root"))
    there = nodes_of_all(models)
    here = [
        model
        for model in models
        if place.node in there[model.pk] or place.node == node_of(model)
    ]
    floor = floor_of(
        place.for_models, ours_bytes=place.ours_bytes, ours_vram_bytes=place.ours_vram_bytes
    )
    candidates = Candidates(place, floor, here)
    room = place.room
    recommended: list[Recommendation] = []
    too_large: list[tuple[int, DiscoveredModel]] = []
    suited = suitability(here, task)
    for each in suited:
        model = each.model
        if (fit := candidates.fit(model, room)) is None:
            too_large.append((candidates.smallest(model), model))
            continue
        recommended.append(_recommended(candidates, each, fit))
    if floor.model_class == ModelClass.SMALLEST:
        recommended.sort(key=_smallest_first)
    else:
        recommended.sort(key=_order)
    others = [
        *(_too_large(model, mib, place) for mib, model in sorted(too_large, key=_first)),
        *_unfit(models, {each.model.pk for each in suited}, here, task),
    ]
    warning = floor.warning
    if not recommended:
        warning = _nothing(place, task, too_large)
    return Recommendations(
        task, place, floor, candidates, list(_standing(recommended, floor)), others, warning
    )


def _recommended(candidates: Candidates, suited: Suitability, fit: Fit) -> Recommendation:
    model, floor, place = suited.model, candidates.floor, candidates.place
    trained, speed = model.context_length, candidates.speed(model, fit)
    against = list(
        losses(floor, size_params=model.size_params, trained=trained, fit=fit, speed=speed)
    )
    above = not floor.model_class.has(model.size_params)
    told = advantages(trained=trained, fit=fit, speed=speed, is_above_class=above)
    score = max(0.0, suited.score - sum(loss.points for loss in against))
    return Recommendation(
        model=model,
        score=round(score, 1),
        suitability=suited.score,
        fit=fit,
        speed=speed,
        fits_now=place.fits_now(model.display_name, fit.needed),
        run_settings=candidates.run_settings(model, fit),
        reasons=(
            *suited.reasons,
            *told,
            *(f"{loss.reason} ({-loss.points:+.1f})." for loss in against),
        ),
    )


def _order(each: Recommendation) -> tuple[float, float, int, str]:
    """Return what they are sorted by, the best first.

    Of two that are as good the larger model: it is better where its speed is as good. Of two
    files of one model the smaller.
    """
    model = each.model
    return -each.score, -(model.size_params or 0.0), model.size_bytes, model.model_id


def _smallest_first(each: Recommendation) -> tuple[int, str]:
    return each.model.size_bytes, each.model.model_id


def _standing(recommended: Sequence[Recommendation], floor: Floor) -> Iterator[Recommendation]:
    """Yield them with a sentence in front on why each stands where it does."""
    before: Recommendation | None = None
    for each in recommended:
        if floor.model_class == ModelClass.SMALLEST:
            why = "There is little memory: the smallest comes first."
        elif before is None:
            why = f"Preferred: {each.score:g} points, no model here has more."
        elif before.score == each.score:
            why = f"{each.score:g} points, as {before.model.display_name}, which is larger."
            if (before.model.size_params or 0) == (each.model.size_params or 0):
                why = f"{each.score:g} points, as {before.model.display_name}."
        else:
            less = before.score - each.score
            why = f"{each.score:g} points, {less:.1f} less than {before.model.display_name}."
        yield replace(each, reasons=(why, *each.reasons))
        before = each


def _too_large(model: DiscoveredModel, mib: int, place: Place) -> NotRecommended:
    room = place.room
    there = f"{room.ram_mib:,} MiB"
    if room.gpus_mib:
        there += f" and {room.vram_mib:,} MiB on GPUs"
    why = f"Too large: it needs {mib:,} MiB with the shortest context, and there are {there}."
    return NotRecommended(model.model_id, model.display_name, why)


def _unfit(
    models: Iterable[DiscoveredModel],
    suited: set[int],
    here: Collection[DiscoveredModel],
    task: str,
) -> Iterable[NotRecommended]:
    for model in models:
        if model.pk in suited:
            continue
        if model not in here:
            why = f"Its files are on node {node_of(model)}."
        elif not model.is_launchable:
            why = model.problem or "Its file has gone. `manage.py rescan` looks again."
        else:
            why = exclusion(traits_of(model), task)
        yield NotRecommended(model.model_id, model.display_name, why)


def _nothing(place: Place, task: str, too_large: Sequence[tuple[int, DiscoveredModel]]) -> str:
    if not too_large:
        return (
            f"No model on {place.node} can do this task, {task}. `manage.py models list` shows "
            "those there are, `manage.py pull` gets more."
        )
    mib, model = min(too_large, key=_first)
    return (
        f"The memory is not enough for any model here: the smallest, {model.model_id}, needs "
        f"{mib:,} MiB, and there are {place.room.total_mib:,}. Stop other programs, or pull a "
        "smaller model or quantization."
    )


def _first(pair: tuple[int, DiscoveredModel]) -> int:
    return pair[0]


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)
