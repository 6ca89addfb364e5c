"""The labelled prompts of benchmarks/routing/, as request bodies."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from servers_app.complexity.prompts import Prompt, read_prompt

SAMPLE: Final = Path(__file__).with_name("routing") / "sample.jsonl"
TIERS: Final = ("fast", "balanced", "powerful")
_CUT: Final = "[...]"
_PROSE: Final = (
    "The committee met on Tuesday and went through the items one after the other. "
    "Most members had read the papers, and the discussion of the first item was brief. "
    "Costs rose by four per cent, mainly for heating, and two projects finished late. "
    "Ms Hale reported from the northern branch, where a new warehouse opened in spring.\n"
    "A visitor asked about parking; the chair said that the council would decide in May. "
    "The harvest was good in the valley and poor on the hills, as in the year before. "
    "Letters from readers were mixed, some pleased with the change and some annoyed.\n"
)


class Labelled(NamedTuple):
    prompt: Prompt
    tier: int  # 0 fast, 1 balanced, 2 powerful
    language: str
    kind: str
    text: str


def load(paths: Iterable[Path] = (SAMPLE,)) -> list[Labelled]:
    rows = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            rows += [_labelled(json.loads(line)) for line in file if line.strip()]
    return rows


def _labelled(row: dict[str, Any]) -> Labelled:
    return Labelled(
        read_prompt("/v1/chat/completions", _body(row)),
        TIERS.index(row["tier"]),
        row.get("language", ""),
        row.get("kind", ""),
        row["prompt"],
    )


def _body(row: dict[str, Any]) -> dict[str, Any]:
    """Build the body that a row abbreviates: filler, earlier turns, tools and their results."""
    chars = row.get("filler_chars", 0)
    filler = (_PROSE * (chars // len(_PROSE) + 1))[:chars]
    messages: list[dict[str, str]] = []
    for _ in range(row.get("turns", 0)):
        messages += [
            {"role": "user", "content": _PROSE[:120]},
            {"role": "assistant", "content": _PROSE},
        ]
    messages.append({"role": "user", "content": row["prompt"].replace(_CUT, filler)})
    messages += [{"role": "tool", "content": _PROSE}] * row.get("tool_results", 0)
    tools = [{"type": "function"}] * row.get("tools", 0)
    return {"messages": messages, **({"tools": tools} if tools else {})}
