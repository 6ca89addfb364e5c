"""How the nodes are, with what each has and runs: for the API, the admin and the terminal.

It costs the same number of queries for a hundred nodes as for one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.db import models
from django.db.models import Count, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from models_app.copy_models import ModelCopy
from models_app.models import DiscoveredModel
from models_app.node_address import is_loopback
from servers_app.models import RUNNING, EngineBuild, Node, Server, Wanted
from servers_app.node_facts import key_here


class NodeState(models.TextChoices):
    ALIVE = "alive", "Alive"
    CORDONED = "cordoned", "Cordoned"  # alive, and gets no new servers
    SILENT = "silent", "Silent"


COLOURS: Final = {
    NodeState.ALIVE: "ready",
    NodeState.CORDONED: "starting",
    NodeState.SILENT: "failed",
}


@dataclass(frozen=True, slots=True)
class ShownNode:
    """A node, and what was counted of it."""

    node: Node
    servers: Mapping[str, int] = field(default_factory=dict)  # of those not at rest, by state
    models: int = 0
    builds: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def state(self) -> NodeState:
        return state_of(self.node)

    @property
    def version(self) -> str:
        return str(self.node.facts.get("version", ""))

    @property
    def running(self) -> int:
        """Of its servers, as far as is known."""
        return sum(self.servers.get(state, 0) for state in RUNNING)

    def as_json(self) -> dict[str, Any]:
        node = self.node
        silence = node.silence
        return {
            "name": node.name,
            "address": node.address,
            "state": self.state.value,
            "is_cordoned": node.is_cordoned,
            "heartbeat_at": node.heartbeat_at,
            "heartbeat_age_seconds": silence and round(max(0.0, silence.total_seconds()), 1),
            "started_at": node.started_at,
            "version": self.version or None,
            "hardware": summary(node.hardware),
            "servers": dict(self.servers),
            "models": self.models,
            "builds": self.builds,
            "tasks": node.facts.get("tasks", {}),
            "warnings": self.warnings,
        }


def state_of(node: Node) -> NodeState:
    if not node.is_alive:
        return NodeState.SILENT
    return NodeState.CORDONED if node.is_cordoned else NodeState.ALIVE


def shown(nodes: Iterable[Node] | None = None) -> list[ShownNode]:
    """Return the nodes, all of them if none are given, with what is counted of each."""
    every = list(Node.objects.all())
    alive = sum(node.is_alive for node in every)
    servers = _servers()
    here, builds = models_on(), _builds()
    return [
        ShownNode(
            node,
            servers.get(node.name, {}),
            here[node.name],
            builds.get(node.name, []),
            warnings_of(node, alive),
        )
        for node in (every if nodes is None else nodes)
    ]


def warnings_of(node: Node, alive: int) -> list[str]:
    """Return what people should know of a node that works, as sentences.

    Args:
        alive: how many nodes are there.
    """
    warnings = []
    if alive > 1 and node.is_alive and is_loopback(node.address):
        warnings.append(
            f"Its servers listen on {node.address}: no other machine reaches them. Set "
            "MAGI_NODE_ADDRESS there to the address at which others reach that machine."
        )
    version = node.facts.get("version")
    if version and version != settings.MAGI_VERSION:
        warnings.append(f"It runs MAGI {version}, and this is {settings.MAGI_VERSION}.")
    if node.facts.get("key", key_here()) != key_here():
        warnings.append(
            "Its MAGI_SECRET_KEY is not the one of this web server, which can use none of its "
            "servers. Give every machine the same one."
        )
    if node.facts.get("engines", {}).get("", {}).get("problem"):
        warnings.append("It can start no server: its engine cannot be used. Its page says why.")
    return warnings


def summary(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells most of a node's hardware; empty where it has not said."""
    if not hardware:
        return {}
    gpus = hardware.get("gpus", [])
    return {
        "cpu": hardware.get("cpu"),
        "physical_cores": hardware.get("physical_cores"),
        "logical_cores": hardware.get("logical_cores"),
        "memory_bytes": hardware.get("total_bytes"),
        "memory_available_bytes": hardware.get("available_bytes"),
        "gpus": [
            {name: gpu.get(name) for name in ("name", "total_bytes", "free_bytes")}
            for gpu in gpus
        ],
        "disks_free_bytes": [disk.get("free_bytes") for disk in hardware.get("disks", [])],
    }


def with_counts(nodes: QuerySet[Node]) -> QuerySet[Node]:
    """Have `servers_running`, `models_home` and `models_copied` read with each node."""
    home = DiscoveredModel.objects.filter(is_missing=False, root__node=OuterRef("name"))
    return nodes.annotate(
        servers_running=_count(Server.objects.filter(state__in=RUNNING, node=OuterRef("name"))),
        models_home=_count(home),
        models_copied=_count(ModelCopy.objects.filter(problem="", node=OuterRef("name"))),
    )


def _count(rows: QuerySet[Any]) -> Coalesce:
    counted = rows.order_by().annotate(all=Value(1)).values("all").annotate(n=Count("pk"))
    return Coalesce(Subquery(counted.values("n")), 0)


def models_on() -> Counter[str]:
    """Return by node how many models have files there that are not missing."""
    there: Counter[str] = Counter()
    homes = DiscoveredModel.objects.filter(is_missing=False).order_by()
    for node, count in homes.values_list("root__node").annotate(count=Count("pk")):
        there[node or settings.MAGI_NODE] += count
    copies = ModelCopy.objects.filter(problem="").order_by()
    for node, count in copies.values_list("node").annotate(count=Count("pk")):
        there[node] += count
    return there


def _servers() -> dict[str, dict[str, int]]:
    rows = Server.objects.exclude(state="stopped", wanted=Wanted.STOPPED).order_by()
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for node, state, count in rows.values_list("node", "state").annotate(count=Count("pk")):
        counted[node][state] = count
    return counted


def _builds() -> dict[str, list[str]]:
    builds: dict[str, list[str]] = defaultdict(list)
    for engine in EngineBuild.objects.filter(problem="").only("node", "version"):
        builds[engine.node].append(engine.version or "llama-server")
    return builds
