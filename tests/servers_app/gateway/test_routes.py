import pytest

from servers_app.gateway.errors import ModelNotFoundError
from servers_app.gateway.routes import Route, RoutingTable, TierRule, TwoStage
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import make_replica, make_route

URL = "http://127.0.0.1:8080"


def named(model_id: str, *aliases: str, tier: str | None = "fast", kind: str = "text") -> Route:
    route = make_route(model_id, make_replica(URL), tier=tier, kind=kind)
    return Route(
        model_id=route.model_id,
        display_name=route.display_name,
        tier=route.tier,
        kind=route.kind,
        context_length=route.context_length,
        created=route.created,
        owned_by=route.owned_by,
        replicas=route.replicas,
        aliases=aliases,
    )


def table_of(
    *routes: Route, tiers: tuple[TierRule, ...] = (), two_stage: TwoStage | None = None
) -> RoutingTable:
    by_id = {route.model_id: route for route in routes}
    return RoutingTable(by_id, profile="test", tiers=tiers, two_stage=two_stage)


def ids(table: RoutingTable, name: str, *, tier: str | None = None) -> list[str]:
    return [route.model_id for route in table.routes_for(Wish(name, tier))]


def test_a_model_is_found_by_its_id_and_by_its_aliases() -> None:
    table = table_of(named("a", "gpt-4o", "mine"), named("b"))

    assert [ids(table, name) for name in ("a", "gpt-4o", "mine", "b")] == [
        ["a"], ["a"], ["a"], ["b"],
    ]  # fmt: skip


def test_an_id_goes_before_an_alias_and_an_alias_before_a_tier() -> None:
    table = table_of(named("a", "b", "fast"), named("b", "fast"), named("c"))

    assert ids(table, "b") == ["b"]
    assert ids(table, "fast") == ["a"]  # the first in the profile's order that has the alias


def test_a_tier_is_its_models_that_write_text_in_the_profiles_order() -> None:
    table = table_of(
        named("z", tier="fast"),
        named("embedder", tier="fast", kind="embedding"),
        named("a", tier="fast", kind="vision"),
        named("strong", tier="powerful"),
    )

    assert ids(table, "fast") == ["z", "a"]


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        pytest.param(["fast", "powerful"], "balanced", "powerful", id="stronger of two"),
        pytest.param(["balanced", "powerful"], "fast", "balanced", id="nearest above"),
        pytest.param(["fast", "balanced"], "powerful", "balanced", id="nearest below"),
        pytest.param(["fast"], "powerful", "fast", id="the only one"),
        pytest.param([None, "fast"], "powerful", "fast", id="one with a tier first"),
        pytest.param([None], "powerful", None, id="no tier at all"),
    ],
)
def test_an_empty_tier_is_the_nearest_that_has_models(
    there: list[str | None], asked: str, expected: str | None
) -> None:
    table = table_of(*(named(str(tier), tier=tier) for tier in there))

    assert ids(table, asked) == [str(expected)]
    assert table.wanted_tier(Wish(asked)) == asked


def test_auto_falls_back_on_the_other_tiers_the_nearest_first() -> None:
    table = table_of(
        named("none", tier=None),
        named("f", tier="fast"),
        named("b", tier="balanced"),
        named("p", tier="powerful"),
    )

    assert ids(table, "auto", tier="fast") == ["f", "b", "p", "none"]
    assert ids(table, "auto", tier="balanced") == ["b", "p", "f", "none"]
    assert ids(table, "auto", tier="powerful") == ["p", "b", "f", "none"]


def test_auto_without_a_tier_is_every_model_in_the_profiles_order() -> None:
    table = table_of(
        named("p", tier="powerful"), named("e", kind="embedding"), named("f", tier="fast")
    )

    assert ids(table, "auto") == ["p", "f"]


def test_two_stage_is_the_tier_of_its_second_stage() -> None:
    models = (named("f", tier="fast"), named("p", tier="powerful"))
    two_stage = TwoStage("fast", "powerful", stage1_max_tokens=100)

    assert ids(table_of(*models, two_stage=two_stage), "two-stage") == ["p"]
    with pytest.raises(ModelNotFoundError):
        table_of(*models).routes_for(Wish("two-stage"))


def test_an_unknown_model_is_told_what_there_is() -> None:
    table = table_of(
        named("a", "mine", "b", tier="powerful"),
        named("b", kind="embedding", tier="balanced"),
        two_stage=TwoStage("fast", "powerful", stage1_max_tokens=100),
    )

    with pytest.raises(ModelNotFoundError) as caught:
        table.routes_for(Wish("x"))

    assert str(caught.value) == (
        "The model 'x' does not exist. Available: auto, powerful, two-stage, a, b, mine"
    )


@pytest.mark.parametrize("name", ["auto", "fast"])
def test_where_no_model_writes_text_there_is_no_auto_and_no_tier(name: str) -> None:
    table = table_of(named("b", kind="embedding"))

    with pytest.raises(ModelNotFoundError, match=rf"'{name}' does not exist\. Available: b$"):
        table.routes_for(Wish(name))


@pytest.mark.parametrize("name", ["auto", "fast", "x"])
def test_with_nothing_enabled_the_error_says_what_to_do(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="Enable a model in a profile in the admin"):
        table_of().routes_for(Wish(name))


@pytest.mark.parametrize(
    ("score", "tier"),
    [(0, "fast"), (3, "fast"), (3.1, "balanced"), (7, "balanced"), (7.1, "powerful")],
)
def test_without_rules_the_limits_are_3_and_7(score: float, tier: str) -> None:
    assert table_of().tier_for(score) == tier


def test_the_first_rule_in_the_profiles_order_that_fits_counts() -> None:
    rules = (
        TierRule("powerful", max_score=5, expected_seconds=1),
        TierRule("fast", max_score=9, expected_seconds=1),
    )
    table = table_of(tiers=rules)

    assert [table.tier_for(score) for score in (1, 5, 6, 9)] == [
        "powerful", "powerful", "fast", "fast",
    ]  # fmt: skip
    assert table.tier_for(9.5) == "fast"  # above every limit: the last


def test_a_tier_without_a_rule_takes_as_long_as_usual() -> None:
    table = table_of(tiers=(TierRule("fast", max_score=5, expected_seconds=1),))

    assert (table.expected_seconds("fast"), table.expected_seconds("powerful")) == (1, 15)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(["failed", "starting", "ready"], "ready", id="one is ready"),
        pytest.param(["failed", "starting"], "starting", id="one is starting"),
        pytest.param(["failed", "stopped"], "failed", id="none works"),
        pytest.param([], "stopped", id="there is none"),
    ],
)
def test_a_route_is_what_its_best_replica_is(states: list[str], expected: str) -> None:
    route = make_route("qwen", *(make_replica(URL, state=state) for state in states))

    assert route.state == expected
