import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.models import RestartPolicy
from servers_app.exits import Cause, Ending
from servers_app.restarts import (
    JITTER,
    MAX_DELAY_S,
    MAX_KEPT,
    NEVER,
    ON_FAILURE,
    STABLE_S,
    Again,
    GivenUp,
    decide,
)

NOW = 1_800_000_000.0
CRASH = Ending(Cause.CRASHED, "llama-server crashed (SIGSEGV).", is_permanent=False)
STOP = Ending(Cause.STOPPED, "llama-server was stopped with code 0.", is_permanent=False)
BAD_FLAG = Ending(Cause.UNKNOWN_FLAG, "It does not know --x.", is_permanent=True)
ALWAYS = RestartPolicy.UNLESS_STOPPED.value


def after(
    ending: Ending = CRASH,
    *,
    policy: str = ALWAYS,
    failed_at: list[float] | None = None,
    ready_seconds: float | None = None,
    limit: int = 5,
    window_s: float = 600.0,
    chance: float = 0.5,  # of which the jitter makes nothing
) -> Again | GivenUp:
    return decide(
        policy,
        ending=ending,
        failed_at=failed_at or [],
        now=NOW,
        ready_seconds=ready_seconds,
        limit=limit,
        window_s=window_s,
        random=lambda: chance,
    )


def delays(count: int, *, pause_s: float) -> list[float]:
    """Return the delays of a server that fails `count` times, each after its delay."""
    found: list[float] = []
    failed_at: list[float] = []
    now = NOW
    for _ in range(count):
        again = decide(
            ALWAYS,
            ending=CRASH,
            failed_at=failed_at,
            now=now,
            ready_seconds=None,
            limit=count + 1,
            window_s=pause_s,
            random=lambda: 0.5,
        )
        assert isinstance(again, Again)
        found.append(again.delay_s)
        failed_at = again.failed_at
        now += again.delay_s + pause_s
    return found


def test_the_first_failure_is_tried_again_after_a_second() -> None:
    assert after() == Again(1.0, [NOW])


def test_the_delay_doubles_up_to_a_minute() -> None:
    assert delays(9, pause_s=1.0) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_slow_failures_are_backed_off_from_as_quick_ones_are() -> None:
    assert delays(8, pause_s=10_000.0) == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("chance", "delay_s"), [(0.0, 3.2), (0.25, 3.6), (0.5, 4.0), (1, 4.8)])
def test_the_delay_is_a_fifth_more_or_less(chance: float, delay_s: float) -> None:
    again = after(failed_at=[NOW - 9, NOW - 5], chance=chance)

    assert isinstance(again, Again)
    assert again.delay_s == pytest.approx(delay_s)


def test_it_is_given_up_after_so_many_failures_in_the_window_with_the_figures() -> None:
    failed_at = [NOW - 599, NOW - 100, NOW - 50, NOW - 10]

    given_up = after(failed_at=failed_at)

    assert given_up == GivenUp(
        "It failed 5 times in 600 s; the last time: llama-server crashed (SIGSEGV).",
        [*failed_at, NOW],
    )


def test_failures_before_the_window_do_not_count() -> None:
    assert isinstance(after(failed_at=[NOW - 601, NOW - 100, NOW - 50, NOW - 10]), Again)


@pytest.mark.parametrize("limit", [1, 0])
def test_a_limit_of_one_is_no_second_try(limit: int) -> None:
    given_up = after(limit=limit)

    assert isinstance(given_up, GivenUp)
    assert given_up.why.startswith("It failed once in 600 s; ")


@pytest.mark.parametrize(
    ("ready_seconds", "failed_at", "delay_s"),
    [
        pytest.param(STABLE_S, [NOW], 1.0, id="it was stable"),
        pytest.param(STABLE_S - 1, [NOW - 400, NOW - 300, NOW], 4.0, id="it was not"),
        pytest.param(0.0, [NOW - 400, NOW - 300, NOW], 4.0, id="just ready"),
        pytest.param(None, [NOW - 400, NOW - 300, NOW], 4.0, id="never ready"),
    ],
)
def test_one_that_was_ready_for_a_minute_begins_anew(
    ready_seconds: float | None, failed_at: list[float], delay_s: float
) -> None:
    again = after(failed_at=[NOW - 400, NOW - 300], ready_seconds=ready_seconds)

    assert again == Again(delay_s, failed_at)


def test_what_cannot_get_better_is_given_up_at_once() -> None:
    assert after(BAD_FLAG) == GivenUp("It does not know --x.", [NOW])


def test_what_has_run_with_the_same_flags_is_tried_again() -> None:
    assert isinstance(after(BAD_FLAG, ready_seconds=3.0), Again)


@pytest.mark.parametrize(
    ("policy", "ending", "expected"),
    [
        (ALWAYS, CRASH, Again),
        (ALWAYS, STOP, Again),
        (ON_FAILURE, CRASH, Again),
        (ON_FAILURE, STOP, GivenUp),
        (NEVER, CRASH, GivenUp),
        (NEVER, STOP, GivenUp),
    ],
)
def test_the_policy_decides(policy: str, ending: Ending, expected: type) -> None:
    decision = after(ending, policy=policy, ready_seconds=600.0)

    assert isinstance(decision, expected)
    if isinstance(decision, GivenUp):
        assert f"restart_policy is {policy}." in decision.why


def test_the_policies_are_those_of_profiles() -> None:
    assert {ALWAYS, ON_FAILURE, NEVER} == set(RestartPolicy.values)


def test_failures_of_a_clock_that_was_ahead_are_forgotten() -> None:
    assert after(failed_at=[NOW + 3600] * 9) == Again(1.0, [NOW])


TIMES = st.floats(NOW - 1e6, NOW + 1e6)


@given(
    policy=st.sampled_from(RestartPolicy.values),
    ending=st.sampled_from([CRASH, STOP, BAD_FLAG]),
    failed_at=st.lists(TIMES, max_size=3 * MAX_KEPT).map(sorted),
    ready_seconds=st.none() | st.floats(0, 1e6),
    limit=st.integers(0, 2 * MAX_KEPT),
    window_s=st.floats(1, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_any_decision_keeps_within_its_bounds(
    *,
    policy: str,
    ending: Ending,
    failed_at: list[float],
    ready_seconds: float | None,
    limit: int,
    window_s: float,
    chance: float,
) -> None:
    decision = after(
        ending,
        policy=policy,
        failed_at=failed_at,
        ready_seconds=ready_seconds,
        limit=limit,
        window_s=window_s,
        chance=chance,
    )

    assert decision.failed_at[-1] == NOW
    assert set(decision.failed_at) <= {*failed_at, NOW}
    assert len(decision.failed_at) <= max(limit, MAX_KEPT)
    if isinstance(decision, Again):
        lately = [at for at in decision.failed_at if NOW - at <= window_s]
        assert len(lately) < limit
        assert 1 - JITTER <= decision.delay_s <= MAX_DELAY_S
        assert policy != NEVER
    else:
        assert decision.why


@given(st.integers(1, 2 * MAX_KEPT), st.floats(0, 1, exclude_max=True))
def test_no_delay_is_shorter_than_a_failure_fewer_would_have_less_the_jitter(
    failures: int, chance: float
) -> None:
    earlier = [NOW - 10_000.0] * failures
    fewer, more = after(failed_at=earlier[1:]), after(failed_at=earlier, chance=chance)

    assert isinstance(fewer, Again)
    assert isinstance(more, Again)
    assert more.delay_s >= fewer.delay_s * (1 - JITTER)
