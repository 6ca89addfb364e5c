"""Other names of a profile's models: those that clients have in their settings already."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from models_app.models import Tier

MAX_ALIASES: Final = 32  # of one model
MAX_CHARS: Final = 128
# What the gateway answers to by itself.
RESERVED: Final = ("auto", *Tier.values, "two-stage", "current")
RESERVED_START: Final = "task:"  # the model that suits a task best
# It stands in the path of GET /v1/models/ALIAS: no `..` and no empty step.
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(?:/[A-Za-z0-9][A-Za-z0-9._:-]*)*")


def alias_problem(alias: str) -> str:
    """Return a sentence on why a text is no alias; empty if it is one.

    Upper and lower case differ, as in the model ids of OpenAI's API.
    """
    if alias in RESERVED:
        return f"{alias} is a name of MAGI's own: {', '.join(RESERVED)} are."
    if alias.startswith(RESERVED_START):
        return f"What begins with {RESERVED_START} is MAGI's own."
    if len(alias) > MAX_CHARS:
        return f"It has {len(alias)} characters; at most {MAX_CHARS}."
    if not _ALIAS.fullmatch(alias):
        return "An alias is of letters, digits and . _ - : / and begins with a letter or digit."
    return ""


def aliases_problems(value: Any) -> Iterator[str]:
    """Yield what is wrong with the aliases of one model, as JSON has them."""
    if not isinstance(value, list):
        yield 'A list of names is wanted: ["gpt-4o"].'
    elif len(value) > MAX_ALIASES:
        yield f"{len(value)} aliases; at most {MAX_ALIASES}."
    else:
        for place, alias in enumerate(value, start=1):
            why = alias_problem(alias) if isinstance(alias, str) else "It is not text."
            if why:
                yield f"Item {place}: {why}"


def clashes(aliases: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield each model with an alias that names something else as well, and a sentence.

    Args:
        aliases: of every model that a profile enables, by its id.
    """
    owners: dict[str, str] = {}
    for model_id, names in aliases.items():
        for name in names:
            if name in aliases:
                yield model_id, f"{name} is the id of a model that the profile enables."
            elif name in owners:
                yield model_id, f"{name} is an alias of {owners[name]} already."
            owners.setdefault(name, model_id)
