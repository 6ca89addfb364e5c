"""The engines of all nodes: this one's are asked, the others' are read from what they wrote."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from profiles_app.engines import EMBEDDED
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import as_remembered, capabilities
from servers_app.engine.capabilities import Capabilities
from servers_app.errors import EngineError
from servers_app.models import EngineBuild, Node


class Built(NamedTuple):
    """An engine of some node, and what it can do."""

    engine: Engine
    known: Capabilities


class EnginesByNode:
    """What the engines of some nodes can do, with two queries for all of them.

    Args:
        nodes: names; of further ones nothing is known.
        rows: the nodes' rows, if somebody has read them already: one query less.
    """

    def __init__(self, nodes: Collection[str], rows: Iterable[Node] | None = None) -> None:
        others = [node for node in nodes if node != settings.MAGI_NODE]
        if rows is None:
            rows = Node.objects.filter(name__in=others) if others else ()
        self._said: dict[str, dict[str, Any]] = {
            row.name: row.facts.get("engines") or {} for row in rows
        }
        builds = EngineBuild.objects.filter(node__in=others, problem="") if others else ()
        self._builds = {(build.node, build.path): build for build in builds}
        self._known: dict[tuple[str, str], Built | None] = {}

    def on(self, node: str, name: str) -> Built | None:
        """Return the engine that `node` calls `name`; None where nobody here knows it.

        Args:
            name: as profiles call it; empty for the node's default.
        """
        key = (node, name)
        if key not in self._known:
            is_here = node == settings.MAGI_NODE
            self._known[key] = _here(name) if is_here else self._elsewhere(node, name)
        return self._known[key]

    def _elsewhere(self, node: str, name: str) -> Built | None:
        said = self._said.get(node, {}).get(name)
        if not said or said.get("problem"):
            return None
        build = self._builds.get((node, said["path"]))
        if build is None:
            return None
        is_embedded = said["path"] == EMBEDDED
        # Where it is run there says nothing here, but that it is the embedded one.
        cwd = Path(settings.BASE_DIR) if is_embedded else None
        return Built(Engine(tuple(said["command"]), cwd, name), as_remembered(build))


def names_by_node(**_signal: object) -> dict[str, list[str]]:
    """Receive profiles_app.engines.engines_are_asked."""
    others = Node.objects.exclude(name=settings.MAGI_NODE).order_by()
    said = others.values_list("name", "facts__engines")
    return {node: sorted(filter(None, engines)) for node, engines in said if engines}


def _here(name: str) -> Built | None:
    try:
        engine = find_engine(name)
        return Built(engine, capabilities(engine))
    except EngineError:
        return None
