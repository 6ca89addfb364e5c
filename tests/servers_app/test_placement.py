"""Which node gets a server, by each rule: whatever the nodes are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers_app.placement import PACK, PIN, SPREAD, Place, choose

NEED = 1000

_free = st.none() | st.integers(-2000, 20_000)
_places: st.SearchStrategy[list[Place]] = st.lists(
    st.builds(
        lambda name, free, of_model, others: Place(name, free, of_model, of_model + others),
        st.sampled_from("abcdefgh"),
        _free,
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    max_size=8,
    unique_by=lambda place: place.node,
)
_rules = st.sampled_from([SPREAD, PACK, PIN])
_orders = st.permutations("abcdefgh").flatmap(
    lambda names: st.integers(0, len(names)).map(lambda count: names[:count])
)


@given(rule=_rules, places=_places, order=_orders)
def test_one_of_the_places_is_chosen_and_none_only_where_there_is_none(
    rule: str, places: list[Place], order: list[str]
) -> None:
    chosen = choose(rule, places, NEED, order)

    assert (chosen in places) if places else chosen is None


@given(rule=_rules, places=_places, order=_orders)
def test_a_node_without_room_is_chosen_only_where_none_has_room(
    rule: str, places: list[Place], order: list[str]
) -> None:
    chosen = choose(rule, places, NEED, order)

    if chosen is not None and not chosen.has_room(NEED):
        assert not any(place.has_room(NEED) for place in places)


@given(rule=_rules, places=_places, order=_orders, data=st.data())
def test_the_order_in_which_nodes_are_told_decides_nothing(
    rule: str, places: list[Place], order: list[str], data: Any
) -> None:
    shuffled = data.draw(st.permutations(places))

    assert choose(rule, shuffled, NEED, order) == choose(rule, places, NEED, order)


@given(
    free=st.dictionaries(
        st.sampled_from("abcde"), st.integers(50_000, 90_000), min_size=1, max_size=5
    ),
    count=st.integers(1, 16),
)
def test_spread_gives_no_node_two_servers_more_than_another(
    free: dict[str, int], count: int
) -> None:
    servers = dict.fromkeys(free, 0)
    for _ in range(count):
        places = [Place(n, free[n] - NEED * servers[n], servers[n], servers[n]) for n in free]
        chosen = choose(SPREAD, places, NEED)
        assert chosen is not None
        servers[chosen.node] += 1

    assert max(servers.values()) - min(servers.values()) <= 1


@given(places=_places)
def test_pack_takes_an_empty_node_only_where_no_other_has_room(places: list[Place]) -> None:
    chosen = choose(PACK, places, NEED)

    if chosen is not None and chosen.has_room(NEED) and chosen.servers == 0:
        assert not any(place.servers and place.has_room(NEED) for place in places)


@given(
    free=st.dictionaries(
        st.sampled_from("abcde"), st.integers(0, 9_000), min_size=2, max_size=5
    ),
    count=st.integers(1, 8),
)
def test_pack_leaves_nodes_empty_until_the_others_are_full(
    free: dict[str, int], count: int
) -> None:
    servers = dict.fromkeys(free, 0)
    for _ in range(count):
        left = {name: free[name] - NEED * servers[name] for name in free}
        chosen = choose(PACK, [Place(n, left[n], 0, servers[n]) for n in free], NEED)
        assert chosen is not None
        if servers[chosen.node] == 0 and chosen.has_room(NEED):
            assert all(left[name] < NEED for name in free if servers[name])
        servers[chosen.node] += 1


@given(places=_places, order=_orders)
def test_pin_takes_the_first_that_is_named_and_has_room(
    places: list[Place], order: list[str]
) -> None:
    chosen = choose(PIN, places, NEED, order)

    with_room = {place.node for place in places if place.has_room(NEED)}
    named = [name for name in order if name in (with_room or {it.node for it in places})]
    if named:
        assert chosen is not None
        assert chosen.node == named[0]


@pytest.mark.parametrize(
    ("rule", "node"),
    [
        pytest.param(SPREAD, "half", id="fewest servers, then the most memory"),
        pytest.param(PACK, "full", id="the one in use with the least memory left"),
        pytest.param(PIN, "empty", id="the first one named"),
    ],
)
def test_each_rule_has_its_own_choice(rule: str, node: str) -> None:
    places = [
        Place("full", 2000, of_model=1, servers=3),
        Place("half", 9000, of_model=0, servers=1),
        Place("empty", 8000, of_model=0, servers=0),
    ]

    chosen = choose(rule, places, NEED, order=["nowhere", "empty", "full"])

    assert chosen is not None
    assert chosen.node == node


def test_where_none_has_room_the_best_one_is_taken_all_the_same() -> None:
    places = [Place("a", 100), Place("b", 500), Place("c", 300)]

    chosen = [choose(rule, places, NEED, order=["c", "a"]) for rule in (SPREAD, PACK, PIN)]

    assert [place.node for place in chosen if place] == ["b", "b", "c"]
