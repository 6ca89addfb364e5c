"""What GET /v1/models says of each name that a request may give."""

from collections.abc import Sequence
from typing import Final, TypedDict

from servers_app.gateway.routes import (
    AUTO,
    READY,
    STARTING,
    STOPPED,
    TIERS,
    TWO_STAGE,
    Route,
    RoutingTable,
    TwoStage,
)
from servers_app.gateway.wishes import Wish

_TITLES: Final = {
    AUTO: "Auto",
    TWO_STAGE: "Two-stage",
    **{tier: tier.title() for tier in TIERS},
}
_BEST_FIRST: Final = (READY, STARTING, STOPPED)


class Card(TypedDict):
    """A model as OpenAI's API has it, and what is ours behind that."""

    id: str
    object: str
    created: int  # unix seconds
    owned_by: str
    display_name: str
    kind: str
    tier: str | None
    context_length: int | None  # tokens
    state: str
    root: str | None  # the model that answers; None where that is chosen for each request
    aliases: list[str]
    is_thinking: bool  # whether its answers may carry reasoning


def cards(table: RoutingTable) -> dict[str, Card]:
    """Return a card for each name, in the order in which a client may show them.

    The names that leave the choice to the gateway come first, then the models in the
    profile's order. An alias has a card of its own behind its model's: clients that offer
    what is listed then offer it, too.
    """
    routes = table.auto_routes()
    found = {}
    if routes or not table.is_restricted:
        found[AUTO] = _choice_card(AUTO, routes, tier=None)
    for tier in TIERS:
        if of_tier := [route for route in routes if route.tier == tier]:
            found[tier] = _choice_card(tier, of_tier, tier=tier)
    if table.two_stage is not None and routes:
        found[TWO_STAGE] = _two_stage_card(table, table.two_stage)
    for route in table.routes.values():
        # A model may run under an id that the profile has as an alias: that is the model's.
        aliases = [alias for alias in route.aliases if alias not in table.routes]
        for name in (route.model_id, *aliases):
            found[name] = _model_card(name, route, aliases)
    return found


def card_of(table: RoutingTable, name: str) -> Card | None:
    """Return the card of a name, also of one that no list has: a task, or `current`."""
    chosen = table.chosen(name)
    if chosen is None or table.is_model(name):
        return cards(table).get(name)
    return _model_card(name, chosen, chosen.aliases)


def _model_card(name: str, route: Route, aliases: Sequence[str]) -> Card:
    return {
        "id": name,
        "object": "model",
        "created": route.created,
        "owned_by": route.owned_by,
        "display_name": route.display_name,
        "kind": route.kind,
        "tier": route.tier,
        "context_length": route.context_length,
        "state": route.state,
        "root": route.model_id,
        "aliases": list(aliases),
        "is_thinking": route.is_thinking,
    }


def _choice_card(name: str, routes: Sequence[Route], *, tier: str | None) -> Card:
    return {
        "id": name,
        "object": "model",
        "created": max((route.created for route in routes), default=0),
        "owned_by": "magi",
        "display_name": _TITLES[name],
        "kind": "text",
        "tier": tier,
        "context_length": None,
        "state": _best_state(routes),
        "root": None,
        "aliases": [],
        "is_thinking": any(route.is_thinking for route in routes),
    }


def _two_stage_card(table: RoutingTable, stages: TwoStage) -> Card:
    """Return a card that is ready when both stages are."""
    tiers = (stages.stage1_tier, stages.stage2_tier)
    by_stage = [table.routes_for(Wish(tier)) for tier in tiers]
    card = _choice_card(
        TWO_STAGE, [route for routes in by_stage for route in routes], tier=None
    )
    card["state"] = max((_best_state(routes) for routes in by_stage), key=_BEST_FIRST.index)
    return card


def _best_state(routes: Sequence[Route]) -> str:
    states = {route.state for route in routes}
    return next((state for state in _BEST_FIRST if state in states), STOPPED)
