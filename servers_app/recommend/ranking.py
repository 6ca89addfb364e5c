"""Which of the models that fit is preferred, in points, and why.

A model's points are those for its task (servers_app/manager/suitability.py), less what speaks
against it on this machine. Nothing is known here of a database.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from servers_app.recommend.fitting import USEFUL_CONTEXT, Fit
from servers_app.recommend.floor import Floor, MachineClass
from servers_app.recommend.speed import Source, Speed

COMFORTABLE: Final = 10.0  # tokens per second: as fast as one reads
MAX_SLOW: Final = 4.0  # points
ABOVE_CLASS: Final = 3.0
SHORT_CONTEXT: Final = 1.0
COARSE_CACHE: Final = 0.5

# Points for each halving below COMFORTABLE: large machines are for quality, small for speed.
_SLOW: Final = {
    MachineClass.HIGH_END: 0.5,
    MachineClass.MID_RANGE: 1.0,
    MachineClass.LOW_END: 1.5,
}


class Loss(NamedTuple):
    """Points that a model loses, and a sentence that says for what."""

    points: float
    reason: str


def losses(
    floor: Floor, *, size_params: float | None, trained: int | None, fit: Fit, speed: Speed
) -> Iterator[Loss]:
    """Yield what speaks against a model on the machine that `floor` is of.

    Args:
        size_params: billions of parameters.
        trained: tokens of the context that it was trained for.
    """
    if not floor.model_class.has(size_params) and not _is_seen_to_be_fast(speed):
        yield Loss(
            ABOVE_CLASS,
            f"It is larger than the rule for this memory has it, {floor.model_class}",
        )
    tokens = speed.tokens_per_s
    if tokens is not None and tokens < COMFORTABLE:
        halvings = math.log2(COMFORTABLE / max(tokens, 0.01))
        points = min(MAX_SLOW, _SLOW[floor.machine_class] * halvings)
        yield Loss(points, f"It is slow: {tokens:.3g} tokens a second, {speed.how}")
    if fit.ctx_size < min(USEFUL_CONTEXT, trained or USEFUL_CONTEXT):
        yield Loss(SHORT_CONTEXT, f"Only a context of {fit.ctx_size:,} tokens fits")
    if fit.cache_type != "f16":
        yield Loss(COARSE_CACHE, f"Its KV cache has to be {fit.cache_type} to fit")


def advantages(
    *, trained: int | None, fit: Fit, speed: Speed, is_above_class: bool
) -> Iterator[str]:
    """Yield what speaks for it, or is good to know, as sentences."""
    whole = ", all that it was trained for" if fit.ctx_size == trained else ""
    seen = "as measured here" if fit.is_measured else "as estimated"
    yield (
        f"It fits with a context of {fit.ctx_size:,} tokens{whole}: {fit.total_mib:,} MiB, "
        f"{seen}."
    )
    if fit.n_gpu_layers == "all":
        yield "All of its layers fit on GPUs."
    elif fit.n_gpu_layers:
        yield f"{fit.n_gpu_layers} of its {fit.layers} layers fit on GPUs."
    tokens = speed.tokens_per_s
    if tokens is None:
        yield f"Its speed is {speed.how}."
    elif tokens >= COMFORTABLE:
        yield f"About {tokens:.3g} tokens a second, {speed.how}."
    if is_above_class and _is_seen_to_be_fast(speed):
        yield "It is larger than the rule for this memory has it, and was seen to be fast here."


def _is_seen_to_be_fast(speed: Speed) -> bool:
    tokens = speed.tokens_per_s
    return speed.source == Source.BENCHMARK and tokens is not None and tokens >= COMFORTABLE
