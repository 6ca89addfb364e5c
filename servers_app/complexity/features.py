"""What a prompt's text shows without being understood, as numbers of about 0 to 3.

A name is the factor, a dot, and the feature: what a person is told is the sum by factor.
Many of them count marks rather than words, and so hold in any language.
"""

import re
from math import log1p
from typing import Final

from servers_app.complexity import lexicon
from servers_app.complexity.prompts import Prompt

# Where a text is longer, the ask is looked for at its two ends: the rest was pasted.
_ASK_CHARS: Final = 900
_HEAD_CHARS: Final = 400
_TAIL_CHARS: Final = 250
_PASTED_ASK_CHARS: Final = 200  # what the ask beside a pasted text is taken to have
_WIDE_CHARS: Final = 3  # letters that a Chinese or Japanese sign stands for

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]", re.MULTILINE)
_CODE_MARK = re.compile(r"`|[;{}]\s*$|\w\(\w*\)|=>|::|</\w", re.MULTILINE)
_FORMULA = re.compile(
    r"\$|\\[a-z]+|[\^∫∑√≤≥≠∈∀∃→∞λπ]|\b[a-z]\([a-z]\)|[a-z0-9)] ?[=<>]+ ?[-\da-z(]"
)
_NUMBER = re.compile(r"\d+")


def extract(prompt: Prompt) -> dict[str, float]:
    """Return the features that are not zero; the cost is bounded, well under 1 ms."""
    ask = _ask(prompt.text)
    is_pasted = len(prompt.text) > _ASK_CHARS
    units = prompt.text_chars + (_WIDE_CHARS - 1) * len(_WIDE.findall(ask))
    fences = len(_FENCE.findall(prompt.text))
    plain = _FENCE.sub(" ", ask).lower()
    reasoning = len(set(lexicon.REASONING.findall(plain)))
    producing = len(set(lexicon.PRODUCING.findall(plain)))
    routine = len(set(lexicon.ROUTINE.findall(plain)))
    found = {
        "length.ask": log1p((_PASTED_ASK_CHARS if is_pasted else units) / 40),
        "structure.lists": min(len(_ITEM.findall(ask)), 12) / 4,
        "code.fences": min(fences, 2),
        "code.marks": float(bool(_CODE_MARK.search(ask))),
        "code.words": min(len(set(lexicon.CODE.findall(plain))), 3),
        "mathematics.formulas": min(len(_FORMULA.findall(plain)), 8) / 2,
        "mathematics.words": min(len(set(lexicon.MATHEMATICS.findall(plain))), 3),
        "mathematics.numbers": min(len(_NUMBER.findall(plain)), 8) / 4,
        "asks.kinds": min(max(0, reasoning + producing - 1), 4) / 2,
        "reasoning.any": float(reasoning > 0),
        "reasoning.more": min(max(0, reasoning - 1), 3),
        "producing.any": float(producing > 0),
        "routine.any": float(routine > 0),
        "routine.alone": float(routine > 0 and not reasoning and not producing),
        "constraints.words": min(len(set(lexicon.CONSTRAINTS.findall(plain))), 5) / 2,
        "conversation.turns": log1p(max(0, prompt.turns - 1)),
        "conversation.history": log1p(prompt.history_chars / 2000),
        "tools.results": log1p(prompt.tool_results),
    }
    return {name: float(value) for name, value in found.items() if value}


def _ask(text: str) -> str:
    if len(text) <= _ASK_CHARS:
        return text
    return f"{text[:_HEAD_CHARS]}\n{text[-_TAIL_CHARS:]}"
