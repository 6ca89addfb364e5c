"""The ids that GGUF files use for tensor types and file types.

Sources: `enum ggml_type` in ggml/include/ggml.h, the block structs in
ggml/src/ggml-common.h, and `LlamaFileType` and `GGML_QUANT_SIZES` in
gguf-py/gguf/constants.py, all of https://github.com/ggml-org/llama.cpp
(`enum llama_ftype` in include/llama.h has the file types again).
"""

import re
from typing import NamedTuple


class GGMLType(NamedTuple):
    """How tensors of one type are stored: in blocks of `block_elements`."""

    name: str
    block_elements: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.block_bytes * 8 / self.block_elements


# Gaps are types that were removed: Q4_2, Q4_3, Q4_0_4_4 and their kind.
GGML_TYPES: dict[int, GGMLType] = {
    0: GGMLType("F32", 1, 4),
    1: GGMLType("F16", 1, 2),
    2: GGMLType("Q4_0", 32, 18),
    3: GGMLType("Q4_1", 32, 20),
    6: GGMLType("Q5_0", 32, 22),
    7: GGMLType("Q5_1", 32, 24),
    8: GGMLType("Q8_0", 32, 34),
    9: GGMLType("Q8_1", 32, 36),
    10: GGMLType("Q2_K", 256, 84),
    11: GGMLType("Q3_K", 256, 110),
    12: GGMLType("Q4_K", 256, 144),
    13: GGMLType("Q5_K", 256, 176),
    14: GGMLType("Q6_K", 256, 210),
    15: GGMLType("Q8_K", 256, 292),
    16: GGMLType("IQ2_XXS", 256, 66),
    17: GGMLType("IQ2_XS", 256, 74),
    18: GGMLType("IQ3_XXS", 256, 98),
    19: GGMLType("IQ1_S", 256, 50),
    20: GGMLType("IQ4_NL", 32, 18),
    21: GGMLType("IQ3_S", 256, 110),
    22: GGMLType("IQ2_S", 256, 82),
    23: GGMLType("IQ4_XS", 256, 136),
    24: GGMLType("I8", 1, 1),
    25: GGMLType("I16", 1, 2),
    26: GGMLType("I32", 1, 4),
    27: GGMLType("I64", 1, 8),
    28: GGMLType("F64", 1, 8),
    29: GGMLType("IQ1_M", 256, 56),
    30: GGMLType("BF16", 1, 2),
    34: GGMLType("TQ1_0", 256, 54),
    35: GGMLType("TQ2_0", 256, 66),
    39: GGMLType("MXFP4", 32, 17),
    40: GGMLType("NVFP4", 64, 36),
    41: GGMLType("Q1_0", 128, 18),
    42: GGMLType("Q2_0", 64, 18),
}

GGML_TYPES_BY_NAME: dict[str, GGMLType] = {kind.name: kind for kind in GGML_TYPES.values()}

# general.file_type: the quantization most of the tensors were asked to have.
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}

FILE_TYPE_GUESSED = 1024  # a flag: llama.cpp worked the file type out from the tensors

# Mixes that no tensor type is named after, and the type that most of their weights have.
_MIX_BASES = {"IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S", "MXFP4_MOE": "MXFP4"}
_K_QUANT = re.compile(r"(Q\d_K)_\w+")
_REPACKED = re.compile(r"(Q4_0)_\d_\d")


def bits_per_weight(quantization: str) -> float | None:
    """Return the bits of most weights under `quantization`; None if it is not known.

    >>> bits_per_weight("Q4_K_XL")
    4.5
    """
    name = _MIX_BASES.get(quantization, quantization)
    for pattern in (_K_QUANT, _REPACKED):
        name = pattern.sub(r"\1", name)
    kind = GGML_TYPES_BY_NAME.get(name)
    return None if kind is None else kind.bits_per_weight
