"""What an activation would do: which servers start, stop, restart, move and stay, and where."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.db import models

from models_app.copies import home_of
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel
from profiles_app.models import Profile, ProfileMember, Start
from profiles_app.nodes import may_run_on
from profiles_app.resolution import Layers, layers_of_all, memory_mib, settings_of_all
from servers_app.engine.argv import Argument, explain_argv, server_argv
from servers_app.engine.binary import find_engine
from servers_app.engine.elsewhere import EnginesByNode
from servers_app.errors import NoNodeError
from servers_app.models import RUNNING, Server, Wanted
from servers_app.placing import Fleet, best_of
from servers_app.ports import LOOPBACK


class Step(models.TextChoices):
    START = "start", "starts"
    STOP = "stop", "stops"
    RESTART = "restart", "restarts: its run settings differ"
    MOVE = "move", "moves to another node"
    STAY = "stay", "stays as it is"
    REFUSED = "refused", "cannot run"
    ON_REQUEST = "on request", "starts with the first request"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to become of one server, or one that is not there yet."""

    step: Step
    model: DiscoveredModel
    replica: int
    server: Server | None  # None for one that was never started; the old one of a move
    why: str = ""
    node: str = ""  # where it is to be; empty where no node may have it

    @property
    def is_enabled(self) -> bool:
        return self.step not in (Step.STOP, Step.REFUSED)


@dataclass(frozen=True, slots=True)
class Plan:
    wishes: Sequence[Wish]
    missing: list[str]  # ids that no model here has
    memory_before_mib: int  # estimated, of the servers wanted now
    memory_after_mib: int
    nodes: int = 1  # that there are: with one, nobody needs to be told which

    def as_json(self) -> dict[str, Any]:
        return {
            "servers": [
                {
                    "model_id": wish.model.model_id,
                    "replica": wish.replica,
                    "node": wish.node,
                    "step": wish.step.value,
                    "why": wish.why,
                }
                for wish in self.wishes
            ],
            "missing_models": self.missing,
            "memory_before_mib": self.memory_before_mib,
            "memory_after_mib": self.memory_after_mib,
        }


class _Seat(NamedTuple):
    """A replica that a profile has, and the server that it is now."""

    model: DiscoveredModel
    member: ProfileMember
    replica: int
    kept: Server | None = None  # stays where it is
    leaving: Server | None = None  # is wanted where it may not be any more
    offered: Server | None = None  # on a silent node: stays if no other one may have it


def make_plan(profile: Profile) -> Plan:
    """Return what an activation of `profile` would do now; nothing is changed.

    A server is compared by its command line: the one that it runs with, and the one that it
    would be given on its node. The number of queries does not grow with models or nodes.
    """
    members = list(profile.members.all())
    ids = [member.model_id for member in members]
    here = DiscoveredModel.objects.select_related("root").in_bulk(ids, field_name="model_id")
    servers = list(Server.objects.select_related("model__root"))
    planner = _Planner(profile, list(here.values()), servers)
    seats = [
        planner.seat(here[member.model_id], member, replica)
        for member in members
        if member.model_id in here
        for replica in range(member.replicas)
    ]
    wishes = [planner.wish(seat) for seat in seats]
    wishes += [
        Wish(Step.STOP, server.model, server.replica, server, node=server.node)
        for server in planner.left()
        if server.wanted == Wanted.RUNNING
    ]
    after = sum(planner.need_mib(it.model) for it in wishes if it.step in _RUNS_AFTERWARDS)
    return Plan(
        wishes=wishes,
        missing=[model_id for model_id in ids if model_id not in here],
        memory_before_mib=_memory_now(servers),
        memory_after_mib=after,
        nodes=len(planner.fleet.names),
    )


def node_of(model: DiscoveredModel) -> str:
    """Return the node whose files the row of a model describes: its home."""
    return home_of(model)


def explained(profile: Profile) -> dict[str, list[Argument]]:
    """Return each model's command line in a profile, and where each value comes from.

    It is that of its first server, on the node that a plan gives it. A model whose node has
    not said which llama-server it has is not among them.

    Raises:
        EngineError: this node has no llama-server, or it cannot be asked what it can do.
    """
    ids = list(profile.members.values_list("model_id", flat=True))
    here = DiscoveredModel.objects.select_related("root").in_bulk(ids, field_name="model_id")
    fleet = Fleet(list(here.values()))
    layers = layers_of_all(list(here.values()), profile)
    engines = EnginesByNode(fleet.names, fleet.nodes.values())
    nodes: dict[str, str] = {}
    if len(fleet.names) > 1:
        for wish in make_plan(profile).wishes:
            nodes.setdefault(wish.model.model_id, wish.node)
    commands = {}
    for model_id in ids:
        if (model := here.get(model_id)) is None:
            continue
        node = nodes.get(model_id) or node_of(model)
        commands[model_id] = _explained(model, node, profile, fleet, layers, engines)
    return {model_id: command for model_id, command in commands.items() if command}


def _explained(
    model: DiscoveredModel,
    node: str,
    profile: Profile,
    fleet: Fleet,
    layers: Layers,
    engines: EnginesByNode,
) -> list[Argument]:
    if node == django_settings.MAGI_NODE:
        settings = layers.settings(model)
        return explain_argv(find_engine(profile.engine), model, model.port, settings)
    built = engines.on(node, profile.engine)
    if built is None:
        return []
    settings = layers.settings(model, cores=fleet.cores(node))
    there = fleet.model_on(model, node)
    return explain_argv(built.engine, there, model.port, settings, known=built.known)


_FLAG = re.compile("--?[A-Za-z]")  # -1 is a value
_RUNS_AFTERWARDS = (Step.START, Step.RESTART, Step.MOVE, Step.STAY)


class _Planner:
    """Gives each replica its node: first those that stay, then the others."""

    def __init__(
        self, profile: Profile, here: Sequence[DiscoveredModel], servers: Sequence[Server]
    ) -> None:
        self.fleet = Fleet(here, servers)
        self._profile = profile
        self._layers = layers_of_all(here, profile)
        self._needs = {
            model.pk: memory_mib(model, self._layers.settings(model)) for model in here
        }
        self._engines = EnginesByNode(self.fleet.names, self.fleet.nodes.values())
        self._left = {
            (server.model_id, server.node, server.replica): server for server in servers
        }
        self._of_replica: dict[tuple[int, int], list[Server]] = defaultdict(list)
        for server in servers:
            if server.wanted == Wanted.RUNNING or server.on_request:
                self._of_replica[server.model_id, server.replica].append(server)

    def need_mib(self, model: DiscoveredModel) -> int:
        return self._needs[model.pk]

    def left(self) -> Sequence[Server]:
        """Return the servers that the profile does not have."""
        return list(self._left.values())

    def seat(self, model: DiscoveredModel, member: ProfileMember, replica: int) -> _Seat:
        """Return what there is of a replica; one that stays is counted on its node."""
        servers = self._of_replica[model.pk, replica]
        have = self.fleet.have(model)
        may = may_run_on(have, member.nodes, self._profile.placement_nodes)
        stay = [server for server in servers if server.node in may or not have]
        if not stay:
            wanted = [server for server in servers if server.wanted == Wanted.RUNNING]
            leaving = best_of(wanted, model) if wanted else None
            return _Seat(model, member, replica, leaving=leaving)
        kept = best_of(stay, model)
        is_open = self.fleet.is_open(kept.node, may_be_silent=False)
        if kept.wanted == Wanted.RUNNING or is_open:
            self.fleet.take(kept.node, model.pk, kept.memory_mib or self.need_mib(model), kept)
            return _Seat(model, member, replica, kept)
        return _Seat(
            model, member, replica, offered=kept if self.fleet.is_open(kept.node) else None
        )

    def wish(self, seat: _Seat) -> Wish:
        """Return what becomes of a replica, placed if it has no node yet."""
        model, replica = seat.model, seat.replica
        if not self.fleet.have(model):
            server = seat.kept or seat.offered
            server = server or self._left.get((model.pk, node_of(model), replica))
            node = server.node if server else node_of(model)
            self._left.pop((model.pk, node, replica), None)
            why = model.problem or "its file is missing"
            return Wish(Step.REFUSED, model, replica, server, why, node)
        if seat.kept is not None:
            self._left.pop((model.pk, seat.kept.node, replica))
            step, why = self._step(model, seat.kept)
            return Wish(step, model, replica, seat.kept, why, seat.kept.node)
        try:
            choice = self.fleet.choose(
                model,
                self._profile,
                member=seat.member.nodes,
                need_mib=self.need_mib(model),
            )
        except NoNodeError as error:
            if (offered := seat.offered) is None:
                return Wish(Step.REFUSED, model, replica, None, str(error))
            self._left.pop((model.pk, offered.node, replica))
            return Wish(self._first_step(), model, replica, offered, node=offered.node)
        self.fleet.take(choice.node, model.pk, self.need_mib(model))
        if seat.leaving is not None:
            self._left.pop((model.pk, seat.leaving.node, replica))
            self._left.pop((model.pk, choice.node, replica), None)
            why = f"from {seat.leaving.node}, where the profile does not have it any more"
            if seat.leaving.node not in self.fleet.have(model):
                why = f"from {seat.leaving.node}, where its files have gone"
            why = "; ".join(filter(None, (why, choice.note)))
            return Wish(Step.MOVE, model, replica, seat.leaving, why, choice.node)
        server = self._left.pop((model.pk, choice.node, replica), None)
        return Wish(self._first_step(), model, replica, server, choice.note, choice.node)

    def _first_step(self) -> Step:
        return Step.ON_REQUEST if self._profile.start == Start.REQUEST else Step.START

    def _step(self, model: DiscoveredModel, server: Server) -> tuple[Step, str]:
        if server.wanted == Wanted.STOPPED or server.state not in RUNNING:
            return self._first_step(), ""
        built = self._engines.on(server.node, self._profile.engine)
        if built is None or server.port is None or not server.argv:
            return Step.STAY, ""
        cores = self.fleet.cores(server.node)
        if cores is None and server.node != django_settings.MAGI_NODE:
            return Step.STAY, ""
        try:
            there = self.fleet.model_on(model, server.node)
        except NotOnNodeError:
            return Step.STAY, ""
        settings = self._layers.settings(model, cores=cores)
        # The address that it was launched at does not move with a profile.
        host = server.host or LOOPBACK
        argv = server_argv(
            built.engine, there, server.port, settings, host=host, known=built.known
        )
        if server.argv == argv:
            return Step.STAY, ""
        return Step.RESTART, _what_differs(server.argv, argv)


def _what_differs(before: Sequence[str], after: Sequence[str]) -> str:
    """Return the flags that two command lines do not have alike, as people read them."""
    old, new = _by_flag(before), _by_flag(after)
    return "; ".join(
        f"{flag}: {old.get(flag, 'not given')} → {new.get(flag, 'not given')}"
        for flag in {**old, **new}
        if old.get(flag) != new.get(flag)
    )


def _by_flag(argv: Sequence[str]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    flag = ""
    for part in argv:
        if _FLAG.match(part):
            flag = part
            values.setdefault(flag, [])
        elif flag:
            values[flag].append(part)
    return {flag: " ".join(parts) or "given" for flag, parts in values.items()}


def _memory_now(servers: Sequence[Server]) -> int:
    running = [server for server in servers if server.wanted == Wanted.RUNNING]
    active = Profile.objects.filter(is_active=True).first()
    settings = settings_of_all([server.model for server in running], active)
    return sum(memory_mib(server.model, settings[server.model.model_id]) for server in running)
