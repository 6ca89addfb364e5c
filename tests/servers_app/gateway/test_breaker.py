import time
from dataclasses import dataclass, field, replace

import pytest

from servers_app.gateway.breaker import (
    FAILURES_IN_A_ROW,
    FAILURES_IN_WINDOW,
    MAX_BACKOFF_S,
    PROBE_S,
    WINDOW,
    Breakers,
    Opened,
    State,
)
from servers_app.gateway.routes import Replica
from tests.servers_app.gateway.conftest import make_replica


@dataclass
class Bench:
    """Breakers whose clock the test turns, and one server."""

    now: float = 1000.0
    server: Replica = field(default_factory=lambda: replace(make_replica("u"), ready_at=1.0))

    def __post_init__(self) -> None:
        self.breakers = Breakers(clock=lambda: self.now)

    def request(self, *outcomes: bool) -> None:
        """Give the server a request for each outcome: True is an answer."""
        for is_answered in outcomes:
            self.breakers.take(self.server)
            report = self.breakers.won if is_answered else self.breakers.failed
            report(self.server.server_id)

    def trip(self) -> None:
        self.request(*[False] * FAILURES_IN_A_ROW)

    @property
    def lets(self) -> bool:
        return self.breakers.lets(self.server)

    @property
    def state(self) -> State | None:
        states = self.breakers.states()
        return states[1].state if 1 in states else None


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_server_that_never_failed_gets_requests_and_is_not_listed(bench: Bench) -> None:
    bench.request(True, True)

    assert bench.lets
    assert bench.breakers.states() == {}


def test_a_server_is_left_alone_after_failures_in_a_row(bench: Bench) -> None:
    bench.request(*[False] * (FAILURES_IN_A_ROW - 1))
    assert bench.lets

    bench.request(False)

    assert not bench.lets
    assert bench.breakers.wait_s(bench.server) == 1.0


def test_an_answer_in_between_ends_the_row(bench: Bench) -> None:
    bench.request(*[False] * (FAILURES_IN_A_ROW - 1), True, False)

    assert bench.lets


def test_a_server_that_fails_every_other_request_is_left_alone(bench: Bench) -> None:
    bench.request(*[False, True] * (FAILURES_IN_WINDOW - 1))
    assert bench.lets

    bench.request(False)

    assert not bench.lets


def test_failures_among_many_answers_are_forgotten(bench: Bench) -> None:
    bench.request(*([False] + [True] * 4) * 20)
    assert bench.lets

    bench.request(*[True] * WINDOW)

    assert bench.breakers.states() == {}


def test_when_the_time_is_up_one_request_may_probe(bench: Bench) -> None:
    bench.trip()
    bench.now += 1.0

    assert bench.lets
    bench.breakers.take(bench.server)

    assert bench.state == State.HALF_OPEN
    assert not bench.lets


def test_a_probe_that_is_answered_closes_the_breaker(bench: Bench) -> None:
    bench.trip()
    bench.now += 1.0

    bench.request(True)

    assert bench.lets
    assert bench.state is None


def test_each_probe_that_fails_doubles_the_time(bench: Bench) -> None:
    bench.trip()
    waits = []
    for _ in range(7):
        waits.append(bench.breakers.wait_s(bench.server))
        bench.now += waits[-1]
        bench.request(False)

    assert waits == [1, 2, 4, 8, 16, MAX_BACKOFF_S, MAX_BACKOFF_S]


def test_a_probe_that_nobody_hears_of_makes_room_for_another(bench: Bench) -> None:
    bench.trip()
    bench.now += 1.0
    bench.breakers.take(bench.server)

    bench.now += PROBE_S

    assert bench.lets


def test_an_answer_to_a_request_from_before_leaves_it_open(bench: Bench) -> None:
    bench.breakers.take(bench.server)
    bench.trip()

    bench.breakers.won(1)

    assert not bench.lets


def test_failures_of_requests_from_before_do_not_lengthen_the_time(bench: Bench) -> None:
    bench.trip()

    bench.breakers.failed(1)

    assert bench.breakers.wait_s(bench.server) == 1.0


def test_a_server_that_was_started_anew_gets_requests(bench: Bench) -> None:
    bench.trip()

    bench.server = replace(bench.server, ready_at=2.0)

    assert bench.lets
    assert bench.breakers.states() == {}


def test_each_server_has_a_breaker_of_its_own(bench: Bench) -> None:
    bench.trip()

    assert bench.breakers.lets(make_replica("u", server_id=2))


def test_the_admin_is_told_the_state_the_failures_and_until_when(bench: Bench) -> None:
    bench.request(False)
    assert bench.breakers.states()[1] == (State.CLOSED, 1, None)

    bench.request(*[False] * (FAILURES_IN_A_ROW - 1))

    state, failures, until = bench.breakers.states()[1]
    assert (state, failures) == (State.OPEN, FAILURES_IN_A_ROW)
    assert until is not None
    assert abs(until - 1.0 - time.time()) < 60  # unix seconds, whatever the clock is


def test_what_another_process_has_open_is_open(bench: Bench) -> None:
    bench.breakers.hear("other", {1: Opened(3.0, 1.0)})
    assert bench.breakers.wait_s(bench.server) == 3.0
    assert bench.breakers.opened() == {}  # only it tells of that

    bench.now += 3.0

    assert bench.lets


def test_what_another_process_closes_or_leaves_is_closed(bench: Bench) -> None:
    bench.breakers.hear("a", {1: Opened(3.0, 1.0)})
    bench.breakers.hear("b", {1: Opened(3.0, 1.0)})

    bench.breakers.hear("a", {})
    assert not bench.lets
    bench.breakers.forget(["b"])

    assert bench.lets


def test_another_process_means_the_server_that_it_knew(bench: Bench) -> None:
    bench.breakers.hear("other", {1: Opened(3.0, 0.5)})

    assert bench.lets


def test_an_open_breaker_is_told_with_the_time_it_has_left(bench: Bench) -> None:
    bench.trip()
    bench.now += 0.25

    assert bench.breakers.opened() == {1: (0.75, 1.0)}
    bench.now += 0.75
    assert bench.breakers.opened() == {}


def test_what_the_network_opened_is_not_told_as_others_may_reach_the_server(
    bench: Bench,
) -> None:
    bench.breakers.take(bench.server)
    bench.breakers.cut_off(1)

    assert not bench.lets
    assert bench.breakers.opened() == {}
