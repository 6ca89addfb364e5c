"""Which llama-server a profile runs on, and what of its settings that one does not know.

Only servers_app can ask a llama-server, and this app may not import it: it listens.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from django.conf import settings
from django.dispatch import Signal

from profiles_app.document import Document
from profiles_app.extraargs import Problem
from profiles_app.filepaths import misplaced_files

EMBEDDED: Final = "embedded"

Path: TypeAlias = tuple[str | int, ...]

# Sent with `engine`, a name that there is or empty for the default, and `values`, of one
# layer or of all. A receiver returns the problems; none where it cannot ask that engine.
settings_are_judged = Signal()


def engine_names() -> list[str]:
    """Return the names that a profile may give; none, for the default, is not among them."""
    return sorted({*settings.LLAMA_SERVER_BUILDS, EMBEDDED})


def no_such_engine(name: str) -> str:
    """Return a sentence that says which engines there are, if none is called `name`."""
    if not name or name in engine_names():
        return ""
    return (
        f"There is no engine '{name}' on this machine. Available: {', '.join(engine_names())}; "
        "LLAMA_SERVER_BUILDS names more. Without one, the default is taken."
    )


def unknown_settings(engine: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what of `values` the llama-server called `engine` does not know.

    Nothing where there is no such engine, or nobody here can ask it.
    """
    if not values or no_such_engine(engine):
        return
    for _, problems in settings_are_judged.send(None, engine=engine, values=values):
        yield from cast("list[Problem]", problems)


def engine_problems(document: Document) -> Iterator[tuple[Path, str]]:
    """Yield where a profile's settings do not go with its engine or the disk, and why."""
    engine: str = document["engine"]
    if why := no_such_engine(engine):
        yield ("engine",), why
    layers: dict[Path, Mapping[str, Any]] = {("run_settings",): document["run_settings"]}
    for index, member in enumerate(document["enabled_models"]):
        if isinstance(member, dict):
            path: Path = ("enabled_models", index, "run_settings")
            layers[path] = member.get("run_settings", {})
    for layer, values in layers.items():
        for place, sentence in (*unknown_settings(engine, values), *misplaced_files(values)):
            yield (*layer, *steps(place)), sentence


def steps(place: str) -> Path:
    """Return where in a layer a problem is, as a path.

    >>> steps("lora[1].scale")
    ('lora', 1, 'scale')
    """
    parts = re.findall(r"[^.\[\]]+", place)
    return tuple(int(part) if part.isdecimal() else part for part in parts)
