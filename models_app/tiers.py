"""Tiers: how much a model costs to answer with."""

import re

FAST = "fast"
BALANCED = "balanced"
POWERFUL = "powerful"
TIERS = (FAST, BALANCED, POWERFUL)

POWERFUL_MIN = 14.0  # billions of parameters, from this on
FAST_MAX = 7.0  # billions of parameters, below this
TINY_MAX = 1.0  # billions; below this a model is fast at any quantization

_QUANT_BITS = re.compile(r"(?:I|T)?Q(?P<bits>\d)_", re.ASCII)  # Q4_K_M, IQ3_XXS, TQ1_0
_FOUR_BIT_FLOATS = ("MXFP4", "NVFP4")


def assign_tier(
    size_params: float | None,
    quantization: str,
    *,
    is_thinking: bool,
    powerful_min: float = POWERFUL_MIN,
    fast_max: float = FAST_MAX,
) -> str:
    """Return the tier of a model that nobody has given one.

    A model of unknown size is BALANCED unless it thinks: sending hard questions to a
    small model and easy ones to a large model are the two mistakes to stay clear of.

    Args:
        size_params: billions of parameters, all experts together.
        quantization: upper case, as `Q4_K_M`; empty if it is not known.
    """
    if is_thinking:
        return POWERFUL
    if size_params is None:
        return BALANCED
    if size_params >= powerful_min:
        return POWERFUL
    if size_params < TINY_MAX:
        return FAST
    if size_params < fast_max and is_four_bits_or_fewer(quantization):
        return FAST
    return BALANCED


def is_four_bits_or_fewer(quantization: str) -> bool:
    """Whether the quantization belongs to the 4-bit class or below; Q4_1 does."""
    name = quantization.upper()
    if name.startswith(_FOUR_BIT_FLOATS):
        return True
    match = _QUANT_BITS.match(name)
    return match is not None and int(match["bits"]) <= 4
