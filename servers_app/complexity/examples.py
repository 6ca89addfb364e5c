"""Prompts of which the right tier is known: those that ship, and those that people relabel."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_SHIPPED: Final = Path(__file__).with_name("examples.jsonl")
_SHOWN_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the tier that should answer it.

    `is_public` says whether its text may be shown to whoever asks for a score's factors.
    That of a request which somebody relabelled may not: it is another person's.
    """

    text: str
    tier: str  # fast, balanced or powerful
    is_public: bool = False

    @property
    def shown(self) -> str:
        if not self.is_public:
            return "a relabelled request"
        text = " ".join(self.text.split())
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


@cache
def shipped() -> tuple[Example, ...]:
    """Return the examples of examples.jsonl, read once."""
    lines = _SHIPPED.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(Example(row["prompt"], row["tier"], is_public=True) for row in rows)
