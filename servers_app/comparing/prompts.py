"""Prompt sets: typed in, read from a file, or one of those that ship."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from models_app.task_kinds import TaskKind
from servers_app.errors import ComparisonInvalidError

MAX_PROMPTS: Final = 100
MAX_PROMPT_CHARS: Final = 100_000  # an image among them
MAX_TEXT_CHARS: Final = 2_000_000  # of a whole set
_SHIPPED: Final = Path(__file__).with_name("prompts.jsonl")
# An image in a prompt, as Markdown has it. Nothing is fetched: it is there, or it is text.
_IMAGE: Final = re.compile(
    r"!\[[^\]\n]*\]\((data:image/(?:png|jpeg|webp|gif);base64,[\w+/=]+)\)"
)


class Prompt(NamedTuple):
    text: str
    task: str = TaskKind.GENERAL


def read_prompts(text: str, *, task: str = TaskKind.GENERAL) -> list[Prompt]:
    """Return the prompts of a text: one a line, or an object of JSON a line.

    The first line that is not empty says which of the two it is. An object has `prompt`,
    and may have `task`.

    Args:
        task: of those that name none.

    Raises:
        ComparisonInvalidError: a line is neither, or there are none, or too many.
    """
    if len(text) > MAX_TEXT_CHARS:
        msg = f"The prompts are too long together: {MAX_TEXT_CHARS:,} characters are the most."
        raise ComparisonInvalidError(msg)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line]
    if lines and lines[0][1].startswith("{"):
        return checked(list(_objects(lines, task)))
    return checked([Prompt(line, task) for _, line in lines])


def checked(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return `prompts`, if they can be compared on.

    Raises:
        ComparisonInvalidError: there are none or too many, or one is not as it must be.
    """
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        found = "There is no prompt" if not prompts else f"There are {len(prompts)} prompts"
        msg = f"{found}. Give 1 to {MAX_PROMPTS}, one a line."
        raise ComparisonInvalidError(msg)
    for number, prompt in enumerate(prompts, 1):
        if not prompt.text.strip() or len(prompt.text) > MAX_PROMPT_CHARS:
            msg = f"Prompt {number}: give 1 to {MAX_PROMPT_CHARS:,} characters."
            raise ComparisonInvalidError(msg)
        if "\0" in prompt.text or _has_half_characters(prompt.text):
            msg = f"Prompt {number}: it has characters that are no text."
            raise ComparisonInvalidError(msg)
        if prompt.task not in TaskKind.values:
            accepted = ", ".join(TaskKind.values)
            msg = f"Prompt {number}: its task is one of {accepted}."
            raise ComparisonInvalidError(msg)
    return list(prompts)


def shipped(task: str) -> list[Prompt]:
    """Return the prompts that ship for a kind of task.

    Raises:
        ComparisonInvalidError: there is no such kind.
    """
    if task not in TaskKind.values:
        accepted = ", ".join(TaskKind.values)
        msg = f"task: it is one of {accepted}."
        raise ComparisonInvalidError(msg)
    return [prompt for prompt in _all_shipped() if prompt.task == task]


def parts_of(text: str) -> tuple[str, list[str]]:
    """Return a prompt's text without its images, and those, as data URLs."""
    return _IMAGE.sub("", text).strip(), _IMAGE.findall(text)


@cache
def _all_shipped() -> tuple[Prompt, ...]:
    lines = _SHIPPED.read_text(encoding="utf-8").splitlines()
    return tuple(Prompt(row["prompt"], row["task"]) for row in map(json.loads, lines))


def _objects(lines: Sequence[tuple[int, str]], task: str) -> Iterator[Prompt]:
    for number, line in lines:
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            msg = f'Line {number} is no JSON. A line is {{"prompt": "…", "task": "coding"}}.'
            raise ComparisonInvalidError(msg) from error
        if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
            msg = f'Line {number} has no "prompt" that is a text.'
            raise ComparisonInvalidError(msg)
        yield Prompt(row["prompt"], str(row.get("task") or task)[:100])


def _has_half_characters(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
