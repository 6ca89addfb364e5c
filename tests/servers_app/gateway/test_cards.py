"""What is said of each name that a request may give."""

from dataclasses import replace
from typing import Any

import pytest

from profiles_app.aliases import RESERVED, RESERVED_START
from servers_app.gateway.cards import cards
from servers_app.gateway.routes import AUTO, TIERS, TWO_STAGE, Route, RoutingTable, TwoStage
from servers_app.gateway.selection import CURRENT, TASK
from tests.servers_app.gateway.conftest import make_replica, make_route, make_table

STAGES = TwoStage("fast", "powerful", stage1_max_tokens=500)


def route_of(model_id: str, tier: str | None, state: str = "ready", **more: Any) -> Route:
    route = make_route(model_id, make_replica("http://127.0.0.1:8080", state=state), tier=tier)
    return replace(route, **more)


def staged(*routes: Route) -> RoutingTable:
    return replace(make_table(*routes), two_stage=STAGES)


def test_names_that_leave_the_choice_to_us_come_first_and_then_the_profiles_order() -> None:
    table = staged(
        route_of("zeta", "powerful", aliases=("gpt-4o", "o3")),
        route_of("alpha", "fast"),
        route_of("embedder", None, kind="embedding"),
    )

    assert list(cards(table)) == [
        "auto", "fast", "powerful", "two-stage", "zeta", "gpt-4o", "o3", "alpha", "embedder",
    ]  # fmt: skip


def test_every_card_is_found_by_its_own_id() -> None:
    found = cards(staged(route_of("a", "fast", aliases=("b",)), route_of("c", "balanced")))

    assert [card["id"] for card in found.values()] == list(found)
    assert set(found) == set(staged(*()).names()) | {
        "auto", "fast", "balanced", "two-stage", "a", "b", "c",
    }  # fmt: skip


def test_a_card_has_openais_fields_and_ours() -> None:
    route = route_of("zeta", "powerful", aliases=("gpt-4o",), is_thinking=True)

    assert cards(make_table(route))["zeta"] == {
        "id": "zeta",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "magi",
        "display_name": "ZETA",
        "kind": "text",
        "tier": "powerful",
        "context_length": 4096,
        "state": "ready",
        "root": "zeta",
        "aliases": ["gpt-4o"],
        "is_thinking": True,
    }


def test_an_aliass_card_is_its_models_under_another_id() -> None:
    found = cards(make_table(route_of("zeta", "powerful", aliases=("gpt-4o", "o3"))))

    assert found["gpt-4o"] == {**found["zeta"], "id": "gpt-4o"}
    assert found["gpt-4o"]["root"] == "zeta"


def test_an_id_of_a_running_model_is_nobody_elses_alias() -> None:
    table = make_table(
        route_of("zeta", "powerful", aliases=("other", "o3")), route_of("other", "fast")
    )

    found = cards(table)

    assert found["other"]["root"] == "other"
    assert found["zeta"]["aliases"] == ["o3"]


def test_a_tier_is_as_ready_as_the_best_of_its_models() -> None:
    table = make_table(
        route_of("a", "fast", "stopped"),
        route_of("b", "fast", "starting", is_thinking=True, created=1_800_000_000),
        route_of("c", "powerful", "failed"),
    )

    found = cards(table)

    assert (found["fast"]["state"], found["fast"]["tier"]) == ("starting", "fast")
    assert (found["fast"]["is_thinking"], found["fast"]["created"]) == (True, 1_800_000_000)
    assert (found["powerful"]["state"], found["powerful"]["is_thinking"]) == ("stopped", False)
    assert (found["auto"]["state"], found["auto"]["tier"]) == ("starting", None)
    assert found["auto"]["root"] is None


def test_a_tier_that_only_embeds_is_not_listed() -> None:
    assert list(cards(make_table(route_of("e", "fast", kind="embedding")))) == ["auto", "e"]


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("ready", "ready", "ready"),
        ("ready", "starting", "starting"),
        ("stopped", "ready", "stopped"),
    ],
)
def test_two_stages_are_as_ready_as_the_later_one(first: str, second: str, shown: str) -> None:
    table = staged(route_of("a", "fast", first), route_of("b", "powerful", second))

    assert cards(table)["two-stage"]["state"] == shown


def test_a_stage_whose_tier_has_no_model_counts_as_the_nearest_that_has() -> None:
    table = staged(route_of("a", "balanced"))

    assert cards(table)["two-stage"]["state"] == "ready"


def test_two_stages_are_not_listed_when_no_model_writes_text() -> None:
    assert list(cards(staged(route_of("e", None, kind="embedding")))) == ["auto", "e"]


def test_without_models_auto_is_all_there_is() -> None:
    found = cards(make_table())

    assert list(found) == ["auto"]
    assert (found["auto"]["state"], found["auto"]["created"]) == ("stopped", 0)


def test_no_alias_may_take_a_name_of_ours() -> None:
    assert set(RESERVED) == {AUTO, TWO_STAGE, CURRENT, *TIERS}
    assert RESERVED_START == TASK
