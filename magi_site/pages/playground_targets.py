"""Whom a chat of the playground can go to: each name that a request may give, and how it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from servers_app.gateway.routes import (
    AUTO,
    AUTO_KINDS,
    FAILED,
    READY,
    STARTING,
    STOPPED,
    TIERS,
    TWO_STAGE,
    Route,
    RoutingTable,
)
from servers_app.gateway.wishes import Wish

ON_REQUEST: Final = "on request"
_WORDS: Final = {ON_REQUEST: "starts on request"}
_BEST_FIRST: Final = (READY, STARTING, ON_REQUEST, FAILED, STOPPED)


@dataclass(frozen=True, slots=True)
class Target:
    """A name that a request may give.

    Attributes:
        state: of the best that may answer: ready, starting, on request, failed or stopped.
        note: what else a person should know before choosing it; mostly empty.
        is_off: it is shown, for it could be had, and cannot be chosen.
    """

    name: str
    state: str
    note: str = ""
    is_off: bool = False

    @property
    def label(self) -> str:
        said = "" if self.is_off else _WORDS.get(self.state, self.state)
        return " · ".join(filter(None, (self.name, said, self.note)))


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    targets: list[Target]


def target_groups(table: RoutingTable) -> list[Group]:
    """Return those that can chat; none where no such model is enabled."""
    routes = table.auto_routes()
    if not routes:
        return []
    chosen = [Target(AUTO, _best(routes)), *(_tier(table, tier) for tier in TIERS)]
    models = [Target(route.model_id, _state(route)) for route in routes]
    aliases = [
        Target(alias, _state(route), f"is {route.model_id}")
        for route in routes
        for alias in route.aliases
        if table.model_named(alias) is route and alias not in table.routes
    ]
    groups = [
        Group("MAGI chooses", [*chosen, _two_stage(table)]),
        Group("Models", models),
        Group("Aliases", aliases),
    ]
    return [group for group in groups if group.targets]


def _tier(table: RoutingTable, tier: str) -> Target:
    routes = _chatting(table.routes_for(Wish(tier)))
    there = routes[0].tier
    if there == tier:
        return Target(tier, _best(routes))
    return Target(tier, _best(routes), f"has no model, {there or 'another'} answers")


def _two_stage(table: RoutingTable) -> Target:
    plan = table.two_stage
    if plan is None:
        return Target(TWO_STAGE, STOPPED, "off in the profile", is_off=True)
    states = [
        _best(_chatting(table.routes_for(Wish(tier))))
        for tier in (plan.stage1_tier, plan.stage2_tier)
    ]
    worse = max(states, key=_BEST_FIRST.index)
    return Target(TWO_STAGE, worse, f"{plan.stage1_tier}, then {plan.stage2_tier}")


def _chatting(routes: Iterable[Route]) -> list[Route]:
    return [route for route in routes if route.kind in AUTO_KINDS]


def _best(routes: Sequence[Route]) -> str:
    return min(map(_state, routes), key=_BEST_FIRST.index)


def _state(route: Route) -> str:
    if route.state in (READY, STARTING):
        return route.state
    if any(replica.on_request for replica in route.replicas):
        return ON_REQUEST
    return FAILED if route.state == FAILED else STOPPED
