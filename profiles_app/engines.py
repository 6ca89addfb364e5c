"""Which llama-server a profile runs on, and what of its settings that one does not know.

Only servers_app can ask a llama-server, and this app may not import it: it listens.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from django.conf import settings
from django.dispatch import Signal

from profiles_app.document import Document
from profiles_app.extraargs import Problem
from profiles_app.filepaths import misplaced_files
from profiles_app.nodes import nodes_of_members

EMBEDDED: Final = "embedded"

Path: TypeAlias = tuple[str | int, ...]

# Sent with `engine`, a name that there is or empty for the default, `values`, of one layer or
# of all, and `nodes`, those that would run it; none for this one. A receiver returns the
# problems; none of a node whose engine nobody here knows.
settings_are_judged = Signal()

# Sent without anything. A receiver returns by node which engines other nodes say they have.
engines_are_asked = Signal()


def engine_names() -> list[str]:
    """Return the names that a profile may give; none, for the default, is not among them."""
    elsewhere = (name for names in engines_elsewhere().values() for name in names)
    return sorted({*engines_here(), *elsewhere})


def engines_here() -> set[str]:
    return {*settings.LLAMA_SERVER_BUILDS, EMBEDDED}


def engines_elsewhere() -> dict[str, list[str]]:
    """Return by node which engines the other nodes say they have; it costs a query."""
    return {
        node: names
        for _, heard in engines_are_asked.send(None)
        for node, names in cast("dict[str, list[str]]", heard).items()
    }


def no_such_engine(name: str) -> str:
    """Return a sentence that says which engines there are, if no node calls one `name`."""
    if not name or name in engines_here():
        return ""
    elsewhere = engines_elsewhere()
    if any(name in names for names in elsewhere.values()):
        return ""
    where = "any node" if elsewhere else "this machine"
    return (
        f"There is no engine '{name}' on {where}. Available: {', '.join(engine_names())}; "
        "LLAMA_SERVER_BUILDS names more. Without one, the default is taken."
    )


def nodes_without(name: str) -> set[str]:
    """Return the nodes that say which engines they have, and have none of that name."""
    if not name:
        return set()
    said = {**engines_elsewhere(), settings.MAGI_NODE: engines_here()}
    return {node for node, names in said.items() if name not in names}


def unknown_settings(
    engine: str, values: Mapping[str, Any], *, nodes: Sequence[str] = ()
) -> Iterator[Problem]:
    """Yield what of `values` the llama-server called `engine` does not know.

    Nothing where there is no such engine, or nobody here can ask it.

    Args:
        nodes: that would run it, each with a llama-server of that name; none for this one.
    """
    if not values or no_such_engine(engine):
        return
    asked = {"engine": engine, "values": values, "nodes": nodes}
    for _, problems in settings_are_judged.send(None, **asked):
        yield from cast("list[Problem]", problems)


def engine_problems(document: Document) -> Iterator[tuple[Path, str]]:
    """Yield where a profile's settings do not go with its engine or the disk, and why."""
    engine: str = document["engine"]
    if why := no_such_engine(engine):
        yield ("engine",), why
    of_members = nodes_of_members(document)
    everywhere = sorted({node for nodes in of_members for node in nodes})
    layers: list[tuple[Path, Mapping[str, Any], Sequence[str]]] = [
        (("run_settings",), document["run_settings"], everywhere)
    ]
    for index, member in enumerate(document["enabled_models"]):
        if isinstance(member, dict):
            path: Path = ("enabled_models", index, "run_settings")
            layers.append((path, member.get("run_settings", {}), of_members[index]))
    for layer, values, nodes in layers:
        unknown = unknown_settings(engine, values, nodes=nodes)
        for place, sentence in (*unknown, *misplaced_files(values)):
            yield (*layer, *steps(place)), sentence


def steps(place: str) -> Path:
    """Return where in a layer a problem is, as a path.

    >>> steps("lora[1].scale")
    ('lora', 1, 'scale')
    """
    parts = re.findall(r"[^.\[\]]+", place)
    return tuple(int(part) if part.isdecimal() else part for part in parts)
