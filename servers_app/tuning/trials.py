"""Measure one set of settings: a private server, some prompts, some generation."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psutil

from models_app.models import DiscoveredModel
from profiles_app.services import active_profile
from servers_app.bench.measuring import Stop, measure_generation, measure_prompt
from servers_app.bench.running import Target, launched, settings_for
from servers_app.engine import dialect
from servers_app.engine.binary import find_engine
from servers_app.engine.builds import capabilities
from servers_app.tuning.goals import Speed
from servers_app.tuning.knobs import Machine

PROMPT_TOKENS: Final = 512
GENERATED_TOKENS: Final = 48
BEFORE_GENERATION: Final = 32  # tokens of the prompt that it generates after
ROOM: Final = 64  # tokens of the context that are left alone
SAMPLES: Final = 3  # of a trial
FIRM_SAMPLES: Final = 6  # of the baseline and of what was found, at the end
TURNED: Final = (
    "n_gpu_layers",
    "threads",
    "threads_batch",
    "batch_size",
    "ubatch_size",
    "flash_attn",
    "cache_type_k",
    "cache_type_v",
)
# A value of each that is not left to llama-server, to ask a build whether it has a flag.
_ASKED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(TURNED, 1),
    "flash_attn": "on",
    "cache_type_k": "q8_0",
    "cache_type_v": "q8_0",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What a search measures with: one model, on this machine, until `stop` is set."""

    model: DiscoveredModel
    stop: Stop

    def start(self) -> dict[str, Any]:
        """Return the settings that a search begins with: those that the build can be told.

        Raises:
            EngineError: there is no llama-server, or it cannot be asked what it can do.
        """
        profile = active_profile()
        known = capabilities(find_engine(profile.engine if profile else ""))
        settings = settings_for(self.model)
        return {
            name: settings[name].value
            for name in TURNED
            if dialect.spelling(known, name, _ASKED[name]) is not None
        }

    def machine(self) -> Machine:
        profile = active_profile()
        devices = capabilities(find_engine(profile.engine if profile else "")).devices
        layers = self.model.metadata.get("block_count")
        cores = os.cpu_count() or 1
        return Machine(
            cores=cores,
            physical_cores=psutil.cpu_count(logical=False) or cores,
            has_gpu=bool(devices),
            layers=layers if isinstance(layers, int) else None,
        )

    def measure(self, settings: Mapping[str, Any], samples: int) -> tuple[Speed, str, float]:
        """Return how fast the model is with `settings`, the build, and how long it all took.

        Raises:
            BenchmarkError: it was refused, or failed; the message says why.
            BenchmarkCancelledError: `stop` was set.
        """
        began = time.monotonic()
        values = settings_for(self.model, settings)
        with launched(self.model, values, is_wanted=lambda: not self.stop.is_set()) as target:
            speed = self._speed(target, samples)
        return speed, target.build, time.monotonic() - began

    def _speed(self, target: Target, samples: int) -> Speed:
        tokens = max(1, min(PROMPT_TOKENS, target.context - ROOM))
        generated = max(1, min(GENERATED_TOKENS, target.context // 2))
        before = min(BEFORE_GENERATION, max(1, target.context // 4))
        measure_generation(target, 4, context=before, stop=self.stop)  # pages, caches: warm
        prompts, generations = [], []
        for _ in range(samples):  # one after the other, so that a slow minute hits both
            prompt = measure_prompt(target, tokens, stop=self.stop)
            generation = measure_generation(target, generated, context=before, stop=self.stop)
            prompts.append(prompt.prompt_tokens_per_s)
            generations.append(generation.generation_tokens_per_s)
        return Speed(tuple(prompts), tuple(generations))
