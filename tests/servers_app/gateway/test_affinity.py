from collections.abc import Mapping
from dataclasses import replace

import pytest

from servers_app.gateway.affinity import Affinity
from servers_app.gateway.choosing import Balancer
from servers_app.gateway.routes import Replica, RoutingTable
from servers_app.gateway.wishes import Prefix, Wish
from tests.servers_app.gateway.conftest import make_replica, make_route


def server(server_id: int, *, slots: int = 8) -> Replica:
    return replace(make_replica("http://x", server_id=server_id), slots=slots)


class Talks:
    """Conversations with a model of three servers."""

    def __init__(self, strategy: str = "round_robin", *, slots: int = 8) -> None:
        self._servers = [server(number, slots=slots) for number in (1, 2, 3)]
        self._strategy = strategy
        self._balancer = Balancer()

    def begin(self, key: int) -> int:
        return self._say(Prefix(key, is_new=True), {})

    def go_on(self, key: int, in_flight: Mapping[int, int] | None = None) -> int:
        return self._say(Prefix(key), in_flight or {})

    def lose(self, server_id: int) -> None:
        self._servers = [one for one in self._servers if one.server_id != server_id]

    def _say(self, prefix: Prefix, in_flight: Mapping[int, int]) -> int:
        route = make_route("qwen", *self._servers)
        table = RoutingTable({"qwen": route}, profile="test", strategy=self._strategy)
        choice = self._balancer.choose(table, Wish("qwen", prefix=prefix), in_flight)
        return choice.replica.server_id


@pytest.mark.parametrize("strategy", ["round_robin", "least_loaded"])
def test_a_conversation_returns_to_the_server_that_has_its_cache(strategy: str) -> None:
    talks = Talks(strategy)
    begun = {key: talks.begin(key) for key in range(30)}

    assert set(begun.values()) == {1, 2, 3}
    for _ in range(2):
        assert {key: talks.go_on(key) for key in begun} == begun


def test_the_strategy_decides_where_conversations_begin() -> None:
    talks = Talks()

    assert [talks.begin(key) for key in range(6)] == [1, 2, 3, 1, 2, 3]


def test_the_same_question_of_many_does_not_all_go_to_one_server() -> None:
    talks = Talks()

    assert [talks.begin(7) for _ in range(3)] == [1, 2, 3]


def test_returning_conversations_leave_the_turns_of_new_ones_alone() -> None:
    talks = Talks()
    talks.begin(0)

    for _ in range(5):
        talks.go_on(0)

    assert talks.begin(1) == 2


def test_a_conversation_that_nobody_remembers_begins_anew() -> None:
    talks = Talks()

    assert [talks.go_on(key) for key in (1, 2, 3)] == [1, 2, 3]


def test_a_conversation_leaves_a_server_without_a_free_slot() -> None:
    talks = Talks(slots=2)
    talks.begin(0)

    assert talks.go_on(0, {1: 2, 2: 2}) == 3


def test_a_conversation_waits_for_its_server_when_all_are_full() -> None:
    talks = Talks(slots=2)
    talks.begin(0)

    assert talks.go_on(0, {1: 2, 2: 2, 3: 2}) == 1


def test_a_conversation_leaves_a_server_that_is_much_busier_than_the_others() -> None:
    talks = Talks("least_loaded")
    talks.begin(0)

    assert talks.go_on(0, {1: 2, 2: 1, 3: 1}) == 1
    assert talks.go_on(0, {1: 5, 2: 1, 3: 2}) == 2


def test_a_conversation_that_moved_stays_where_it_went() -> None:
    talks = Talks("least_loaded")
    talks.begin(0)
    talks.go_on(0, {1: 5, 2: 1, 3: 2})

    assert talks.go_on(0) == 2


def test_a_conversation_whose_server_has_gone_finds_another() -> None:
    talks = Talks()
    talks.begin(0)

    talks.lose(1)

    assert talks.go_on(0) in {2, 3}


@pytest.mark.parametrize("strategy", ["random", "first"])
def test_other_strategies_know_no_conversations(strategy: str) -> None:
    talks = Talks(strategy)
    talks.begin(0)

    went_to = {talks.go_on(0) for _ in range(50)}

    assert went_to == ({1, 2, 3} if strategy == "random" else {1})


def test_a_conversation_with_two_models_has_a_server_of_each() -> None:
    """As one in two stages has."""
    routes = {
        name: make_route(name, server(first), server(first + 1))
        for name, first in (("draft", 1), ("answer", 3))
    }
    table = RoutingTable(routes, profile="test")
    balancer = Balancer()

    def servers(prefix: Prefix) -> list[int]:
        choices = [balancer.choose(table, Wish(name, prefix=prefix), {}) for name in routes]
        return [choice.replica.server_id for choice in choices]

    begun = servers(Prefix(7, is_new=True))

    assert [servers(Prefix(7)) for _ in range(3)] == [begun] * 3


def test_in_a_tier_a_conversation_returns_to_the_model_that_answered() -> None:
    routes = {name: make_route(name, server(number)) for number, name in ((1, "a"), (2, "b"))}
    table = RoutingTable(routes, profile="test")
    balancer = Balancer()
    balancer.choose(table, Wish("fast", prefix=Prefix(7, is_new=True)), {1: 8})

    choice = balancer.choose(table, Wish("fast", prefix=Prefix(7)), {})

    assert choice.route.model_id == "b"


def test_the_conversation_not_heard_of_for_longest_is_forgotten() -> None:
    affinity = Affinity(max_conversations=2)
    for key in (1, 2, 1, 3):
        affinity.note(key, "qwen", 9)

    assert [affinity.server_of(key, "qwen") for key in (1, 2, 3)] == [9, None, 9]
