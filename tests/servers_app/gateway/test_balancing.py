import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from servers_app.gateway.balancing import Strategies, has_slot, weight
from servers_app.gateway.routes import Replica
from tests.servers_app.gateway.conftest import make_replica

NOW = 1_700_000_000.0
STRATEGIES = ("round_robin", "least_loaded", "random", "first")


def servers(count: int, *, slots: int = 4, age_s: float | None = None) -> list[Replica]:
    ready_at = None if age_s is None else NOW - age_s
    return [
        replace(make_replica("http://x", server_id=number), slots=slots, ready_at=ready_at)
        for number in range(1, count + 1)
    ]


class Picker:
    """Picks again and again, as if every request were over at once."""

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._strategies = Strategies(random.Random(1))

    def pick(
        self,
        replicas: Sequence[Replica],
        in_flight: Mapping[int, int] | None = None,
        *,
        model_id: str = "qwen",
    ) -> int:
        picked = self._strategies.pick(self._strategy, model_id, replicas, in_flight or {}, NOW)
        return picked.server_id

    def count(self, times: int, replicas: Sequence[Replica]) -> Counter[int]:
        return Counter(self.pick(replicas) for _ in range(times))


def test_round_robin_takes_one_after_the_other() -> None:
    picker = Picker("round_robin")

    assert [picker.pick(servers(3)) for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_each_model_has_turns_of_its_own() -> None:
    picker = Picker("round_robin")

    picked = [picker.pick(servers(2), model_id=name) for name in ("a", "b", "a", "b")]

    assert picked == [1, 1, 2, 2]


def test_round_robin_stays_fair_while_a_replica_comes_and_goes() -> None:
    picker = Picker("round_robin")
    all_three = servers(3)
    picked: Counter[int] = Counter()

    for number in range(300):
        picked[picker.pick(all_three if number % 2 else all_three[:2])] += 1

    assert abs(picked[1] - picked[2]) <= 2
    assert picked[3] >= 50  # a third of the turns in which it was there


def test_a_replica_that_joins_is_not_given_what_it_missed() -> None:
    picker = Picker("round_robin")
    picker.count(100, servers(2))

    assert picker.count(6, servers(3)) == {1: 2, 2: 2, 3: 2}


def test_the_replica_with_the_fewest_requests_is_the_least_loaded() -> None:
    assert Picker("least_loaded").pick(servers(3), {1: 2, 2: 1, 3: 3}) == 2


def test_load_is_relative_to_the_slots() -> None:
    small, large = servers(2)
    small = replace(small, slots=2)

    assert Picker("least_loaded").pick([small, replace(large, slots=8)], {1: 1, 2: 3}) == 2


def test_replicas_that_are_equally_loaded_take_turns() -> None:
    assert Picker("least_loaded").count(10, servers(2)) == {1: 5, 2: 5}


def test_random_gives_each_its_share() -> None:
    picked = Picker("random").count(1000, servers(2))

    assert set(picked) == {1, 2}
    assert min(picked.values()) > 400


def test_without_balancing_the_first_takes_all() -> None:
    assert Picker("first").count(5, servers(3)) == {1: 5}


@pytest.mark.parametrize("strategy", ["round_robin", "random"])
def test_a_fresh_replica_gets_a_share_that_grows_with_its_age(strategy: str) -> None:
    old, fresh = servers(2, age_s=3600)
    shares = []
    for age_s in (0, 2, 5, 10):
        picked = Picker(strategy).count(1000, [old, replace(fresh, ready_at=NOW - age_s)])
        shares.append(picked[2])

    assert shares == sorted(shares)
    assert 50 < shares[0] < 150
    assert 400 < shares[-1] < 600


def test_a_fresh_replica_is_the_least_loaded_only_when_others_have_many_more() -> None:
    old, fresh = servers(2, slots=16, age_s=3600)
    fresh = replace(fresh, ready_at=NOW)

    assert Picker("least_loaded").pick([old, fresh], {1: 2}) == 1
    assert Picker("least_loaded").pick([old, fresh], {1: 12}) == 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fresh_replica_that_is_alone_takes_all(strategy: str) -> None:
    assert Picker(strategy).count(5, servers(1, age_s=0)) == {1: 5}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fresh_replicas_share_as_others_do(strategy: str) -> None:
    picked = Picker(strategy).count(400, servers(2, age_s=1))

    assert picked[1] >= 150


@pytest.mark.parametrize("age_s", [-5.0, 0.0, 0.5])
def test_the_smallest_share_is_a_tenth(age_s: float) -> None:
    assert weight(servers(1, age_s=age_s)[0], NOW) == 0.1


@pytest.mark.parametrize(
    ("slots", "in_flight", "expected"),
    [(2, 1, True), (2, 2, False), (2, 3, False), (0, 99, True)],
)
def test_a_slot_is_free_until_all_are_taken_or_when_nobody_knows(
    slots: int, in_flight: int, *, expected: bool
) -> None:
    assert has_slot(servers(1, slots=slots)[0], {1: in_flight}) is expected
