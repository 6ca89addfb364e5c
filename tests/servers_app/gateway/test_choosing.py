import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from servers_app.gateway.breaker import FAILURES_IN_A_ROW, Breakers
from servers_app.gateway.choosing import Balancer
from servers_app.gateway.errors import (
    CircuitOpenError,
    ModelLoadingError,
    ModelNotFoundError,
    ModelNotReadyError,
)
from servers_app.gateway.routes import Replica, Route, RoutingTable, Why
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import make_replica, make_route

NOW = 1_700_000_000.0
POWERFUL = Wish("auto", "powerful")


def server(
    server_id: int,
    state: str = "ready",
    *,
    slots: int = 1,
    on_request: bool = True,
    launched_at: float | None = None,
) -> Replica:
    made = make_replica("http://x", server_id=server_id, state=state, on_request=on_request)
    return replace(made, slots=slots, launched_at=launched_at)


def model(tier: str, *replicas: Replica, load_seconds: float | None = None) -> Route:
    route = make_route(tier, *replicas, tier=tier)
    return replace(route, load_seconds=load_seconds)


def table_of(
    *routes: Route, cold_wait_seconds: float | None = None, strategy: str = "round_robin"
) -> RoutingTable:
    return RoutingTable(
        {route.model_id: route for route in routes},
        profile="test",
        cold_wait_seconds=cold_wait_seconds,
        strategy=strategy,
    )


def balancer(queued: Mapping[str, int] | None = None, now: float = NOW) -> Balancer:
    depths = queued or {}
    return Balancer(
        Breakers(),
        queued=lambda id_: depths.get(id_, 0),
        rng=random.Random(1),
        clock=lambda: now,
    )


def choose(
    table: RoutingTable,
    wish: Wish = POWERFUL,
    in_flight: Mapping[int, int] | None = None,
    queued: Mapping[str, int] | None = None,
) -> tuple[str, Why]:
    choice = balancer(queued).choose(table, wish, in_flight or {})
    return choice.route.model_id, choice.why


def test_a_replica_that_is_not_ready_or_was_tried_is_passed_over() -> None:
    table = table_of(make_route("qwen", server(1), server(2, "starting"), server(3), server(4)))

    choice = balancer().choose(table, Wish("qwen"), {}, exclude={1, 3})

    assert choice.replica.server_id == 4


def test_a_busy_replica_is_passed_over() -> None:
    table = table_of(make_route("qwen", server(1, slots=2), server(2, slots=2)))
    chooser = balancer()

    chosen = [chooser.choose(table, Wish("qwen"), {1: 2}) for _ in range(3)]

    assert {choice.replica.server_id for choice in chosen} == {2}
    assert all(choice.has_slot for choice in chosen)


def test_where_all_are_busy_the_choice_says_so() -> None:
    table = table_of(make_route("qwen", server(1), server(2)))

    assert not balancer().choose(table, Wish("qwen"), {1: 1, 2: 1}).has_slot


def test_the_next_model_of_a_tier_takes_what_the_first_has_no_slot_for() -> None:
    table = table_of(make_route("first", server(1), server(2)), make_route("second", server(3)))

    assert choose(table, Wish("fast"), {1: 1})[0] == "first"
    assert choose(table, Wish("fast"), {1: 1, 2: 1})[0] == "second"
    assert choose(table, Wish("fast"), {1: 1, 2: 1, 3: 1})[0] == "first"


def test_a_model_that_is_named_is_not_replaced_by_another() -> None:
    table = table_of(make_route("qwen", server(1, "stopped")), make_route("other", server(2)))

    with pytest.raises(ModelNotReadyError):
        choose(table, Wish("qwen"))


def test_a_tier_that_is_named_is_waited_for() -> None:
    cold = model("powerful", server(1, "stopped"), load_seconds=999)
    table = table_of(cold, model("fast", server(2)), cold_wait_seconds=0)

    with pytest.raises(ModelNotReadyError):
        choose(table, Wish("powerful"))
    awaited = balancer().awaited(table, Wish("powerful"))
    assert awaited is not None
    assert awaited.replica.server_id == 1


def test_an_empty_tier_says_that_another_answers() -> None:
    choice = balancer().choose(table_of(model("balanced", server(1))), Wish("fast"), {})

    assert (choice.wanted_tier, choice.route.tier, choice.why) == (
        "fast", "balanced", Why.NO_MODEL,
    )  # fmt: skip
    assert choice.reason == "The profile has no model of the tier fast."


def test_what_was_asked_for_needs_no_reason() -> None:
    choice = balancer().choose(table_of(model("fast", server(1))), Wish("auto", "fast"), {})

    assert (choice.wanted_tier, choice.why, choice.reason) == ("fast", Why.ASKED, "")


def test_auto_takes_the_right_tier_when_it_has_a_free_slot() -> None:
    table = table_of(
        model("fast", server(1)), model("powerful", server(2)), cold_wait_seconds=0
    )

    assert choose(table) == ("powerful", Why.ASKED)


@pytest.mark.parametrize(
    ("cold_wait_seconds", "load_seconds", "is_waited_for"),
    [
        pytest.param(10, 8, True, id="loads soon"),
        pytest.param(10, 40, False, id="loads for long"),
        pytest.param(None, 999, True, id="worth any wait"),
        pytest.param(0, 1, False, id="worth no wait"),
        pytest.param(20, None, False, id="nobody knows how long"),
        pytest.param(60, None, True, id="worth the usual"),
    ],
)
def test_the_profile_says_which_cold_model_is_worth_waiting_for(
    cold_wait_seconds: float | None, load_seconds: float | None, *, is_waited_for: bool
) -> None:
    cold = model("powerful", server(1, "stopped"), load_seconds=load_seconds)
    table = table_of(cold, model("balanced", server(2)), cold_wait_seconds=cold_wait_seconds)

    if is_waited_for:
        with pytest.raises(ModelNotReadyError):
            choose(table)
        awaited = balancer().awaited(table, POWERFUL)
        assert awaited is not None
        assert awaited.route.model_id == "powerful"
    else:
        assert choose(table) == ("balanced", Why.COLD)


def test_the_time_that_a_server_has_been_loading_for_counts() -> None:
    loading = server(1, "starting", launched_at=NOW - 35)
    table = table_of(
        model("powerful", loading, load_seconds=40),
        model("balanced", server(2)),
        cold_wait_seconds=10,
    )

    with pytest.raises(ModelLoadingError):
        balancer().choose(table, POWERFUL, {})
    assert balancer(now=NOW - 20).choose(table, POWERFUL, {}).route.tier == "balanced"


def test_of_two_warm_tiers_the_one_with_less_to_wait_for_answers() -> None:
    table = table_of(
        model("powerful", server(1, "stopped")),
        model("balanced", server(2)),
        model("fast", server(3)),
        cold_wait_seconds=0,
    )

    assert choose(table) == ("balanced", Why.COLD)  # as free as the other, and stronger
    assert choose(table, in_flight={2: 1}) == ("fast", Why.COLD)


def test_a_long_queue_is_a_wait_as_well() -> None:
    table = table_of(
        model("powerful", server(1, slots=2)), model("fast", server(2)), cold_wait_seconds=30
    )
    busy = {1: 2}  # an answer of the tier takes 15 s

    assert choose(table, in_flight=busy, queued={"powerful": 3}) == ("powerful", Why.ASKED)
    assert choose(table, in_flight=busy, queued={"powerful": 4}) == ("fast", Why.BUSY)


def test_what_other_processes_have_sent_beyond_the_slots_counts_as_queued() -> None:
    table = table_of(
        model("powerful", server(1, slots=2)), model("fast", server(2)), cold_wait_seconds=30
    )

    assert choose(table, in_flight={1: 5}) == ("powerful", Why.ASKED)
    assert choose(table, in_flight={1: 6}) == ("fast", Why.BUSY)


def test_where_no_tier_is_warm_the_right_one_is_loaded() -> None:
    table = table_of(
        model("fast", server(1, "stopped"), load_seconds=1),
        model("powerful", server(2, "stopped"), load_seconds=99),
        cold_wait_seconds=0,
    )

    awaited = balancer().awaited(table, POWERFUL)

    assert awaited is not None
    assert (awaited.route.model_id, awaited.has_slot) == ("powerful", False)


@pytest.mark.parametrize("cold_wait_seconds", [None, 0, 60])
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_tier_that_nobody_may_start_is_not_waited_for(
    state: str, cold_wait_seconds: float | None
) -> None:
    gone = model("powerful", server(1, state, on_request=False))
    table = table_of(gone, model("fast", server(2)), cold_wait_seconds=cold_wait_seconds)

    assert choose(table) == ("fast", Why.AWAY)


def test_in_place_of_a_tier_that_is_away_another_is_loaded() -> None:
    table = table_of(
        model("powerful", server(1, "stopped", on_request=False)),
        model("fast", server(2, "stopped")),
    )

    awaited = balancer().awaited(table, POWERFUL)

    assert awaited is not None
    assert (awaited.route.model_id, awaited.why) == ("fast", Why.AWAY)


def test_a_request_whose_servers_were_all_tried_goes_to_another_tier() -> None:
    table = table_of(model("powerful", server(1)), model("fast", server(2)))

    assert balancer().choose(table, POWERFUL, {}, exclude={1}).replica.server_id == 2


def test_a_server_that_fails_again_and_again_is_passed_over() -> None:
    table = table_of(make_route("qwen", server(1), server(2)))
    chooser = balancer()
    for _ in range(FAILURES_IN_A_ROW):
        chooser.failed(1)

    chosen = {chooser.choose(table, Wish("qwen"), {}).replica.server_id for _ in range(4)}

    assert chosen == {2}


def test_where_every_server_fails_the_client_is_told_when_to_come_back() -> None:
    clock = [0.0]
    chooser = Balancer(Breakers(clock=lambda: clock[0]))
    table = table_of(make_route("qwen", server(1)), make_route("other", server(2)))
    for _ in range(FAILURES_IN_A_ROW):
        chooser.failed(1)

    with pytest.raises(CircuitOpenError, match="'qwen' failed too often") as caught:
        chooser.choose(table, Wish("qwen"), {})

    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    clock[0] = 1.0
    choice = chooser.choose(table, Wish("qwen"), {})
    assert choice.replica.server_id == 1
    chooser.breakers.take(choice.replica)
    with pytest.raises(CircuitOpenError):  # one request probes
        chooser.choose(table, Wish("qwen"), {})
    chooser.won(1)
    assert chooser.choose(table, Wish("qwen"), {}).replica.server_id == 1


def test_auto_goes_round_a_tier_whose_servers_fail() -> None:
    table = table_of(model("powerful", server(1)), model("fast", server(2)))
    chooser = balancer()
    for _ in range(FAILURES_IN_A_ROW):
        chooser.failed(1)

    assert chooser.choose(table, POWERFUL, {}).why == Why.AWAY


@pytest.mark.parametrize("name", ["auto", "qwen"])
def test_a_model_that_is_loading_can_be_asked_again(name: str) -> None:
    table = table_of(make_route("qwen", server(1, "failed"), server(2, "starting")))

    with pytest.raises(ModelLoadingError, match="'qwen' is loading") as caught:
        choose(table, Wish(name))

    assert caught.value.retry_after == 2


def test_a_model_that_failed_says_how() -> None:
    failed = replace(server(1, "failed"), failure="It ended with code 1.")

    with pytest.raises(ModelNotReadyError) as caught:
        choose(table_of(make_route("qwen", failed)), Wish("qwen"))

    assert str(caught.value) == (
        "The model 'qwen' is not ready: its server has failed. It ended with code 1."
    )
    assert caught.value.retry_after is None


def test_a_model_that_is_not_there_is_not_waited_for() -> None:
    table = table_of(make_route("qwen", server(1, "stopped")))

    with pytest.raises(ModelNotFoundError):
        balancer().awaited(table, Wish("x"))


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        pytest.param([("stopped", True), ("starting", False)], "starting", id="one starts"),
        pytest.param([("stopped", True), ("stopping", True)], "stopping", id="one is loaded"),
        pytest.param([("failed", False), ("stopped", True)], "stopped", id="one failed"),
        pytest.param([("stopped", False), ("failed", False)], "failed", id="worth a try"),
        pytest.param([("stopped", False), ("stopping", False)], None, id="stopped by somebody"),
        pytest.param([("unhealthy", True)], None, id="unwell"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "fast", "1"])
def test_the_replica_that_is_ready_soonest_is_waited_for(
    name: str, replicas: list[tuple[str, bool]], expected: str | None
) -> None:
    made = [server(1, state, on_request=may) for state, may in replicas]
    if name == "1":
        routes = [make_route("1", *made)]
    else:
        routes = [make_route(str(number), replica) for number, replica in enumerate(made)]

    awaited = balancer().awaited(table_of(*routes), Wish(name))

    assert (awaited.replica.state if awaited else None) == expected
