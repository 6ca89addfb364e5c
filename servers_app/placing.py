"""Which node gets the next server of a model: what is known of all nodes, read once.

The rules are in placement.py. A replica that is wanted somewhere is not placed again: nothing
moves by itself but from a node that is lost, or that its profile does not allow any more.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.conf import settings

from models_app.copies import at_copy, home_of
from models_app.copy_models import ModelCopy
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from profiles_app.nodes import allowed, launchable_on, may_run_on
from profiles_app.resolution import Layers, layers_of_all, memory_mib
from servers_app import placement
from servers_app.errors import NoNodeError, NotLaunchableError
from servers_app.models import RUNNING, Node, Server, Wanted

MIB: Final = 2**20
MAX_NAMED: Final = 10  # nodes, in a sentence


class Choice(NamedTuple):
    """The node that gets a server."""

    node: str
    note: str = ""  # that there is no room for it anywhere, with figures


@dataclass(slots=True)
class _Load:
    """What servers that are wanted on a node take, or will."""

    total_mib: int = 0
    coming_mib: int = 0  # of those that do not run yet
    servers: int = 0
    of_model: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class Fleet:
    """All nodes, which of them have which models, and what servers take there.

    Its queries do not grow with models, servers or nodes.

    Args:
        models: that may be placed, with their roots.
        servers: all there are, with their models, if somebody has read them already.
    """

    def __init__(
        self, models: Collection[DiscoveredModel], servers: Sequence[Server] | None = None
    ) -> None:
        self.nodes = {row.name: row for row in Node.objects.all()}
        self._there = launchable_on(models)
        pks = [model.pk for model in models]
        copies = ModelCopy.objects.filter(model__in=pks, problem="").select_related("root")
        self._copies = {(copy.model_id, copy.node): copy for copy in copies}
        self._servers = _asked() if servers is None else servers
        self._loads: dict[str, _Load] = defaultdict(_Load)
        self._leaving: dict[str, int] = defaultdict(int)
        for server in self._servers:
            if server.state in RUNNING:  # until `take` says that it stays
                self._leaving[server.node] += server.memory_mib or 0

    # -- what is known

    def have(self, model: DiscoveredModel) -> tuple[str, ...]:
        """Return the nodes whose files of a model can be launched, its home first."""
        return self._there[model.pk]

    def model_on(self, model: DiscoveredModel, node: str) -> DiscoveredModel:
        """Return the model with its paths on a node, as `as_on`; no query.

        Raises:
            NotOnNodeError: that node has no files of it.
        """
        if node == home_of(model):
            return model
        there = self._copies.get((model.pk, node))
        if there is None:
            raise NotOnNodeError(model.model_id, node)
        return at_copy(model, there)

    def cores(self, node: str) -> int | None:
        """Return the cores of another node; None for this one, and where nobody knows."""
        row = self.nodes.get(node)
        if row is None or node == settings.MAGI_NODE:
            return None
        cores: int | None = row.facts.get("cores")
        return cores

    @property
    def names(self) -> list[str]:
        """Return the names of all nodes that have a worker or files."""
        return sorted(
            {*self.nodes, *(node for nodes in self._there.values() for node in nodes)}
        )

    # -- what is placed

    def take(self, node: str, model_pk: int, mib: int, server: Server | None = None) -> None:
        """Count a server that is wanted on a node, or is to be.

        Args:
            server: the row of one that is wanted there already.
        """
        load = self._loads[node]
        load.total_mib += mib
        load.servers += 1
        load.of_model[model_pk] += 1
        if server is not None and server.state in RUNNING:
            self._leaving[node] -= server.memory_mib or 0
        else:
            load.coming_mib += mib

    def choose(
        self,
        model: DiscoveredModel,
        profile: Profile | None,
        *,
        member: Sequence[str],
        need_mib: int,
        avoid: Collection[str] = (),
    ) -> Choice:
        """Return which node gets a server of `model`; it is not counted yet.

        Args:
            member: the nodes that the model's member of the profile names.
            avoid: nodes that do not count.

        Raises:
            NoNodeError: none may have it.
        """
        profile = profile or Profile()
        there = may_run_on(self.have(model), member, profile.placement_nodes)
        is_only_one = len(self.have(model)) == 1
        nodes = [
            node
            for node in there
            if node not in avoid
            and not self._why_not(node, may_be_silent=is_only_one, engine=profile.engine)
        ]
        places = [self._place(node, model, profile.memory_budget_mib) for node in nodes]
        order = allowed(member, profile.placement_nodes)
        place = placement.choose(profile.placement_rule, places, need_mib, order)
        if place is None:
            raise NoNodeError(self._sentence(model, there, avoid, profile.engine))
        if place.has_room(need_mib):
            return Choice(place.node)
        return Choice(place.node, _no_room(places, need_mib))

    def is_open(self, node: str, *, may_be_silent: bool = True) -> bool:
        """Whether a server may be placed on a node."""
        return not self._why_not(node, may_be_silent=may_be_silent)

    def _why_not(self, node: str, *, may_be_silent: bool, engine: str = "") -> str:
        row = self.nodes.get(node)
        if row is not None and row.is_cordoned:
            return "is cordoned"
        engines = row.facts.get("engines") if row is not None else None
        if engines and engine not in engines:
            return f"has no engine '{engine}'"
        # With one node that has the files there is no choice: what is wanted waits for it.
        if not may_be_silent and (row is None or not row.is_alive):
            return "is silent: its worker has not said for a while that it is there"
        return ""

    def _sentence(
        self,
        model: DiscoveredModel,
        there: Collection[str],
        avoid: Collection[str],
        engine: str,
    ) -> str:
        """Return why no node may have a server of `model`, node by node."""
        have, is_only_one = self.have(model), len(self.have(model)) == 1
        reasons = []
        for node in self.names:
            if node not in have:
                why = "has no files of it"
            elif node not in there:
                why = "is not among the nodes that the profile allows"
            elif node in avoid:
                why = "is the one that it is to leave"
            else:
                why = self._why_not(node, may_be_silent=is_only_one, engine=engine)
            reasons.append(f"{node} {why}")
        more = len(reasons) - MAX_NAMED
        shown = [*reasons[:MAX_NAMED], *([f"{more} more have none either"] if more > 0 else [])]
        return (
            f"No node may have a server of {model.model_id}: {'; '.join(shown)}. Copy it to "
            f"another one (manage.py copy {model.model_id} --to NODE), or have one of these "
            "take it."
        )

    def _place(
        self, node: str, model: DiscoveredModel, budget_mib: int | None
    ) -> placement.Place:
        load = self._loads[node]
        free = self._free_mib(node, load, budget_mib)
        return placement.Place(node, free, load.of_model[model.pk], load.servers)

    def _free_mib(self, node: str, load: _Load, budget_mib: int | None) -> int | None:
        """Return what nothing wanted takes of a node's memory; None where nobody knows.

        What its worker read last holds what runs now, and not what is to come. What a
        system calls available is more than what is free: mapped weights are.
        """
        row = self.nodes.get(node)
        hardware: dict[str, Any] = row.hardware if row else {}
        if row is None or not hardware.get("total_bytes"):
            return None
        gpus = [gpu for gpu in hardware.get("gpus", ()) if not gpu.get("shares_memory")]
        total = hardware["total_bytes"] + sum(gpu["total_bytes"] for gpu in gpus)
        available = hardware.get("available_bytes", hardware["total_bytes"])
        available += sum(gpu.get("free_bytes", gpu["total_bytes"]) for gpu in gpus)
        reserve = row.facts.get("memory_reserve_mib", settings.MAGI_MEMORY_RESERVE_MIB)
        free: int = min(
            total // MIB - reserve - load.total_mib,
            available // MIB - reserve - load.coming_mib + self._leaving[node],
        )
        # A launch holds the budget against what runs on its own node.
        return free if budget_mib is None else min(free, budget_mib - load.total_mib)


def nodes_with(model: DiscoveredModel) -> tuple[str, ...]:
    """Return the nodes whose files of a model can be launched, its home first.

    Raises:
        NotLaunchableError: there is none.
    """
    if nodes := launchable_on([model])[model.pk]:
        return nodes
    msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
    raise NotLaunchableError(msg)


def place(
    model: DiscoveredModel,
    profile: Profile | None,
    *,
    replica: int,
    avoid: Collection[str] = (),
    have: Sequence[str] = (),
) -> Choice:
    """Return the node for a replica of a model: the one where it is wanted, or the best.

    It stays where it is offered, unless that node is silent and another one may have it.

    Args:
        model: with its root.
        avoid: nodes that do not count.
        have: `nodes_with` of the model, if somebody has asked already.

    Raises:
        NotLaunchableError: no node has files of it that can be launched.
        NoNodeError: none may have it; the message says of each why not.
    """
    have, named = tuple(have or nodes_with(model)), _named(model, profile)
    choices = may_run_on(have, named, profile.placement_nodes if profile else ())
    if not avoid and len(have) == 1 and have == choices and not is_cordoned(have[0]):
        return Choice(have[0])  # there is no choice
    servers = _asked()
    wanted = [server for server in servers if server.wanted == Wanted.RUNNING]
    ours = [
        server
        for server in servers
        if server.model_id == model.pk
        and server.replica == replica
        and server.node not in avoid
    ]
    if kept := [server for server in ours if server.wanted == Wanted.RUNNING]:
        return Choice(best_of(kept, model).node)
    fleet = Fleet([model], servers)
    offered = [it for it in ours if it.on_request and it.node in choices]
    there = Choice(best_of(offered, model).node) if offered else None
    if there and fleet.is_open(there.node, may_be_silent=False):
        return there
    layers = layers_of_all([model, *(server.model for server in wanted)], profile)
    for server in wanted:
        if (server.model_id, server.replica) != (model.pk, replica):
            fleet.take(server.node, server.model_id, mib_of(server, layers), server)
    need = memory_mib(model, layers.settings(model))
    try:
        return fleet.choose(model, profile, member=named, need_mib=need, avoid=avoid)
    except NoNodeError:
        if there and fleet.is_open(there.node):
            return there  # it waits for that node
        raise


def is_cordoned(node: str) -> bool:
    return Node.objects.filter(name=node, is_cordoned=True).exists()


def _named(model: DiscoveredModel, profile: Profile | None) -> list[str]:
    """Return the nodes that a model's member of a profile names."""
    if profile is None:
        return []
    members = profile.members.filter(model_id=model.model_id)
    return members.values_list("nodes", flat=True).first() or []


def best_of(servers: Iterable[Server], model: DiscoveredModel) -> Server:
    """Return the server of a replica that counts, if it is asked for on several nodes."""
    home = home_of(model)
    return min(
        servers,
        key=lambda it: (
            it.wanted != Wanted.RUNNING,
            it.state not in RUNNING,
            it.unreachable_since is not None,
            it.node != home,
            it.node,
        ),
    )


def mib_of(server: Server, layers: Layers) -> int:
    """Return what a server is counted with: as at its launch, else by estimate."""
    if server.memory_mib is not None:
        return server.memory_mib
    return memory_mib(server.model, layers.settings(server.model))


def _asked() -> list[Server]:
    """Return the servers that are asked for or take memory, with what an estimate needs."""
    rows = Server.objects.select_related("model__root")
    return list(rows.exclude(wanted=Wanted.STOPPED, on_request=False, port__isnull=True))


def _no_room(places: Sequence[placement.Place], need_mib: int) -> str:
    left = ", ".join(
        f"{it.node} has {max(it.free_mib, 0):,} MiB left"
        for it in places[:MAX_NAMED]
        if it.free_mib is not None
    )
    return f"about {need_mib:,} MiB are needed, and {left}"


def names_of_nodes(**_signal: object) -> list[str]:
    """Receive profiles_app.nodes.nodes_are_asked: return the nodes that have had a worker."""
    return list(Node.objects.values_list("name", flat=True))
