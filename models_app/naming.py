"""The ids and the names under which models are known to people and to clients."""

import re
from collections.abc import Container
from typing import Protocol

from models_app.tiers import TIERS

MAX_NAME = 200  # characters, as the column holds
# No model's id: they stand in its place in /api/models/…, and a request's `model` has them.
RESERVED_IDS = frozenset(
    {
        "auto", "benchmarks", "comparisons", "downloads", "hub", "profile", "profiles",
        "recommendations", "registry", "rescan", "servers", "tiers", *TIERS,
    }
)  # fmt: skip

_NOT_IN_IDS = re.compile(r"[^a-z0-9]+")
_DATE = re.compile(r"\d{4,}")  # releases: 0528, 2507, 20250624
# A base model named inside another's name: DeepSeek-R1-0528-Qwen3, R1-Distill-Llama.
_BASES = re.compile(r"(?:qwen|llama|gemma|mistral|phi|yi)\d*(?:\.\d+)?")


class Named(Protocol):
    """What a name is made of: FoundModel has it, and so has NameParts."""

    @property
    def family(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def size_text(self) -> str: ...
    @property
    def quantization(self) -> str: ...


def make_model_id(model: Named, tier: str) -> str:
    """Return the id of a model that is registered for the first time.

    FAMILY MAJOR _ VARIANT _p MINOR _ SIZE _ QUANT _ TIER, without the parts there are not.

    Args:
        tier: as first assigned; empty for models that have none.
    """
    major, _, minor = model.version.partition(".")
    parts = [
        _squeeze(model.family + major),
        _squeeze(model.variant),
        f"p{_squeeze(minor)}" if minor else "",
        model.size_text,
        _squeeze(model.quantization),
        tier,
    ]
    return "_".join(part for part in parts if part) or "model"


def next_free_id(base: str, taken: Container[str]) -> str:
    """Return `base`, or `base` with the first of _2, _3… that is neither taken nor reserved."""
    candidate, number = base, 1
    while candidate in taken or candidate in RESERVED_IDS:
        number += 1
        candidate = f"{base}_{number}"
    return candidate


def display_name(model: Named, *, is_thinking: bool, origin: str = "") -> str:
    """Return the name a person reads: `DEEPSEEK R1 8.0B (Reasoning) Q2_K`.

    Args:
        is_thinking: with a person's override applied.
        origin: given where two models of one page would else read the same: the repo.
    """
    words = [f"{model.family}{model.version}".upper()]
    words += [_capitalised(word) for word in model.variant.split() if not _is_origin(word)]
    words.append(model.size_text.replace("p", ".").upper().replace("X", "x"))
    words.append("(Reasoning)" if is_thinking else "")
    words.append(model.quantization)
    name = " ".join(word for word in words if word)
    if not origin:
        return name[:MAX_NAME]
    kept = MAX_NAME - len(origin) - 3
    return f"{name[:kept]} [{origin}]" if kept > 0 else f"[{origin[: MAX_NAME - 2]}]"


def _squeeze(text: str) -> str:
    return _NOT_IN_IDS.sub("", text.lower())


def _capitalised(word: str) -> str:
    return word.capitalize() if word.islower() else word


def _is_origin(word: str) -> bool:
    """Whether the word says when or from what a model was made, not what it is."""
    return bool(_DATE.fullmatch(word) or _BASES.fullmatch(word.lower()))
