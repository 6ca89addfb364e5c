"""Find the encoding of a model among the tokens of its file name."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Joined with underscores, as `llama-quantize --help` lists them, and the mixes of
# publishers on top: _L and _XL keep some tensors wider, _4_4 and its kind are repacked.
_QUANTIZATION = re.compile(
    r"Q[2-8]_K(?:_(?:S|M|L|XS|XL|XXL))?"
    r"|Q[1-8]_[01](?:_(?:L|XL|4_4|4_8|8_8))?"
    r"|IQ[1-4]_(?:XXS|XS|S|M|NL)(?:_(?:L|XL))?"
    r"|TQ[12]_0"
    r"|MXFP4(?:_MOE)?|NVFP4"
    r"|BF16|F16|F32|F64"
    r"|SFP|NUQ"  # gemma.cpp's: switched floating point, and non-uniform
)
_MOST_TOKENS = 4  # Q4_0_8_8
_ALIASES = {"FP16": "F16", "FP32": "F32"}


class Encoding(NamedTuple):
    """A quantization, and the tokens [start, stop) of the name that spell it."""

    quantization: str
    start: int
    stop: int


def find_encoding(tokens: Sequence[str]) -> Encoding:
    """Return the last quantization that the tokens spell; `q4` alone is none.

    >>> find_encoding(["Qwen3", "4B", "UD", "Q4", "K", "XL"])
    Encoding(quantization='Q4_K_XL', start=3, stop=6)
    """
    for start in range(len(tokens) - 1, -1, -1):
        for stop in range(min(start + _MOST_TOKENS, len(tokens)), start, -1):
            spelt = "_".join(tokens[start:stop]).upper()
            quantization = _ALIASES.get(spelt, spelt)
            if _QUANTIZATION.fullmatch(quantization):
                return Encoding(quantization, start, stop)
    return Encoding("", len(tokens), len(tokens))
