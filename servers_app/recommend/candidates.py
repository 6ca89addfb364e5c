"""Models of the registry, tried for size on a node: what each would be launched with there."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from django.conf import settings as django_settings

from models_app.memory import CACHE_TYPES, MemoryEstimate
from models_app.models import DiscoveredModel, ModelKind
from profiles_app.models import BaseRunSettings, ModelRunSettings
from profiles_app.resolution import memory_of
from profiles_app.runsettings import Setting, resolve
from servers_app.bench.results import latest_by_model
from servers_app.benchmark_models import Benchmark
from servers_app.engine.unknown import unknown_settings
from servers_app.memory import key_of
from servers_app.models import MemoryMeasurement
from servers_app.recommend import fitting
from servers_app.recommend.fitting import Fit, Needed, Room, Trial
from servers_app.recommend.floor import MEDIUM_GIB, Floor, cores_of
from servers_app.recommend.places import Place
from servers_app.recommend.speed import (
    Speed,
    bytes_of_token,
    measured_speed,
    no_speed,
    reading_of,
    reckoned_speed,
)

OURS: Final = "recommended"  # the layer of run settings that is tried
SMALL_BATCH: Final = {"batch_size": 256, "ubatch_size": 128}  # of a machine with little memory

_GIB_MIB: Final = 1024


class Candidates:
    """Models on one node. Four queries at the start, and none for each model."""

    def __init__(self, place: Place, floor: Floor, models: Sequence[DiscoveredModel]) -> None:
        self.place, self.floor = place, floor
        self._base: Mapping[str, Any] = (
            BaseRunSettings.objects.values_list("run_settings", flat=True).first() or {}
        )
        ids = [model.model_id for model in models]
        self._of_models: Mapping[str, Mapping[str, Any]] = dict(
            ModelRunSettings.objects.filter(model_id__in=ids).values_list(
                "model_id", "run_settings"
            )
        )
        self._measured: Mapping[tuple[int, int, str], MemoryMeasurement] = {}
        self._benchmarks: Mapping[str, Benchmark] = {}
        if not place.is_described:  # what was measured was measured on this machine
            measured = MemoryMeasurement.objects.filter(node=place.node, build=place.build)
            self._measured = {(row.model_id, row.ctx_size, row.shape): row for row in measured}
            self._benchmarks = latest_by_model(place.node)
        self._reading = reading_of(
            place.hardware.memory_bandwidth_bytes_per_s,
            threads=floor.num_threads,
            cores=cores_of(place.hardware),
            seen_bytes_per_s=list(self._seen(models)),
        )

    def fit(
        self,
        model: DiscoveredModel,
        room: Room,
        trials: Iterable[Trial] | None = None,
    ) -> Fit | None:
        """Return how `model` fits best into `room`; None if it does not.

        Args:
            trials: what to try, the best first; without them, up to what it was trained for.
        """
        settings = self._resolved(model, {})

        def estimate(trial: Trial) -> MemoryEstimate:
            return memory_of(model, settings | _as_settings(self._asked(model, trial)))

        def measured(fit: Fit) -> Needed | None:
            trial = Trial(fit.ctx_size, fit.cache_type)
            asked = self._asked(model, trial, fit.n_gpu_layers)
            key = key_of(model, settings | _as_settings(asked), "", "")
            seen = self._measured.get((model.pk, key["ctx_size"], key["shape"]))
            # NVML does not see the processes of a container: 0 is then not what was taken.
            if seen is None:
                return None
            return Needed(seen.ram_mib, seen.vram_mib or fit.needed.vram_mib)

        return fitting.best_fit(
            iter(self.trials(model) if trials is None else trials),
            estimate,
            block_count=model.metadata.get("block_count"),
            room=room,
            measured=measured,
        )

    def trials(self, model: DiscoveredModel) -> Iterator[Trial]:
        return fitting.trials(fitting.contexts(model.context_length), self.cache_types(model))

    def smallest(self, model: DiscoveredModel) -> int:
        """Return the MiB that `model` needs at the least."""
        trial = Trial(fitting.contexts(model.context_length)[-1], self.cache_types(model)[-1])
        settings = self._resolved(model, self._asked(model, trial))
        return -(-memory_of(model, settings).total_bytes // fitting.MIB)

    def cache_types(self, model: DiscoveredModel) -> tuple[str, ...]:
        """Return the types that the engine takes and the model's heads can be cut into."""
        known = self.place.known
        if known is None or not known.has("--cache-type-k", "--cache-type-v", "--flash-attn"):
            return fitting.CACHE_TYPES[:1]
        header = model.metadata
        heads = header.get("head_count") or 0
        width = header.get("key_length") or (
            (header.get("embedding_length") or 0) // heads if heads else 0
        )
        return tuple(
            name
            for name in fitting.CACHE_TYPES
            if not width or width % CACHE_TYPES[name].block_elements == 0
        )

    def run_settings(self, model: DiscoveredModel, fit: Fit) -> dict[str, Any]:
        """Return what a profile says for `model` to be launched as `fit` has it."""
        trial = Trial(fit.ctx_size, fit.cache_type)
        return self._asked(model, trial, fit.n_gpu_layers)

    def speed(self, model: DiscoveredModel, fit: Fit) -> Speed:
        """Return how fast `model` generates: as its newest benchmark has it, or as reckoned."""
        if model.kind == ModelKind.EMBEDDING:
            return no_speed("it reads, and generates nothing")
        benchmark = self._benchmarks.get(model.model_id)
        if benchmark is not None and benchmark.generation_tokens_per_s:
            at = benchmark.finished_at
            return measured_speed(benchmark.generation_tokens_per_s, at)
        read_bytes = bytes_of_token(
            fit.estimate.weights_bytes,
            active_share=_active_share(model),
            kv_cache_bytes=fit.estimate.kv_cache_bytes,
            ctx_size=fit.ctx_size,
        )
        return reckoned_speed(
            read_bytes=read_bytes, reading=self._reading, is_on_gpu=fit.needed.vram_mib > 0
        )

    def _seen(self, models: Iterable[DiscoveredModel]) -> Iterator[float]:
        """Yield how many bytes a second the models read that were measured on the node.

        Where layers lay on a GPU that says nothing of the memory, and is left out.
        """
        for model in models:
            benchmark = self._benchmarks.get(model.model_id)
            if benchmark is None or benchmark.peak_vram_mib:
                continue
            if tokens_per_s := benchmark.generation_tokens_per_s:
                share = _active_share(model)
                yield tokens_per_s * bytes_of_token(model.size_bytes, active_share=share)

    def _asked(
        self, model: DiscoveredModel, trial: Trial, n_gpu_layers: int | str | None = None
    ) -> dict[str, Any]:
        """Return the run settings of a trial, without those that the engine does not know."""
        floor, known = self.floor, self.place.known
        asked: dict[str, Any] = {"ctx_size": trial.ctx_size, "threads": floor.num_threads}
        if known is not None and known.has("--kv-unified"):
            asked["parallel"] = floor.batch_size
            if floor.batch_size > 1:  # any one of the slots may have the whole context
                asked["kv_unified"] = True
        else:
            asked["parallel"] = 1
        below = {**self._base, **self._of_models.get(model.model_id, {})}
        if trial.cache_type != "f16":
            asked |= {"flash_attn": "on"}
        if trial.cache_type != "f16" or {"cache_type_k", "cache_type_v"} & set(below):
            asked |= {"cache_type_k": trial.cache_type, "cache_type_v": trial.cache_type}
        if n_gpu_layers is not None:
            asked["n_gpu_layers"] = n_gpu_layers
        # What an embedding model reads must be within one micro-batch.
        is_small = self.place.room.total_mib < MEDIUM_GIB * _GIB_MIB
        if is_small and model.kind in (ModelKind.TEXT, ModelKind.VISION):
            asked |= SMALL_BATCH
        if known is None:
            return asked
        refused = {place for place, _ in unknown_settings(known, asked)}
        return {name: value for name, value in asked.items() if name not in refused}

    def _resolved(self, model: DiscoveredModel, asked: Mapping[str, Any]) -> dict[str, Setting]:
        place = self.place
        is_here = place.node == django_settings.MAGI_NODE and not place.is_described
        cores = (os.cpu_count() if is_here else place.hardware.logical_cores) or 1
        layers = [
            ("base", self._base),
            ("model", self._of_models.get(model.model_id, {})),
            (OURS, asked),
        ]
        return resolve(
            layers,
            model_context=model.context_length,
            cores=cores,
            allowed_args=django_settings.MAGI_ALLOWED_EXTRA_ARGS,
        )


def _as_settings(asked: Mapping[str, Any]) -> dict[str, Setting]:
    return {name: Setting(value, OURS) for name, value in asked.items()}


def _active_share(model: DiscoveredModel) -> float:
    """Return which share of the weights one token uses: all of them but in a mixture."""
    if model.active_params and model.size_params:
        return min(1.0, model.active_params / model.size_params)
    return 1.0
