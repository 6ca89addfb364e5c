"""Statistics of samples: nothing here is measured."""

import pytest

from servers_app.bench.spread import Direction, difference, is_noise, judge, spread
from servers_app.bench.terminal import deviation
from servers_app.bench.welch import holm, p_value


def test_a_spread_has_every_sample() -> None:
    found = spread([3.0, 1.0, 2.0, 10.0])

    assert found.as_json() == {
        "count": 4,
        "median": 2.5,
        "mean": 4.0,
        "stdev": pytest.approx(4.0825, abs=1e-4),
        "min": 1.0,
        "max": 10.0,
    }


def test_one_sample_has_no_deviation_and_none_is_no_spread() -> None:
    assert spread([5.0]).stdev == 0.0
    with pytest.raises(ValueError, match="no samples"):
        spread([])


# By Simpson's rule over the density of Student's t, in 200,000 steps.
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([27.5, 21.0, 19.0, 23.6, 17.0], [27.1, 22.0, 20.8, 23.4, 23.4], 0.445301508),
        ([17.2, 20.9, 22.6, 18.1], [21.5, 22.8, 21.0, 23.0], 0.152696836),
        ([3.0, 4.0, 1.0, 2.1], [490.2, 340.0, 433.9], 0.010751562),
        ([1.0, 1.0, 1.0], [1.0, 1.0], 1.0),
        ([1.0, 1.0, 1.0], [2.0, 2.0], 0.0),
    ],
)
def test_welch_agrees_with_what_is_known(
    a: list[float], b: list[float], expected: float
) -> None:
    assert p_value(a, b) == pytest.approx(expected, abs=1e-8)
    assert p_value(b, a) == p_value(a, b)


def test_a_single_sample_has_no_probability() -> None:
    assert p_value([1.0], [2.0, 3.0]) is None


def test_many_lines_make_each_of_them_count_less() -> None:
    assert holm([0.03, 0.01, None, 0.02]) == [0.04, 0.03, None, 0.04]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([10, 10.1, 9.9, 10], [12, 12.1, 11.9, 12], Direction.BETTER, id="faster"),
        pytest.param([12, 12.1, 11.9, 12], [10, 10.1, 9.9, 10], Direction.WORSE, id="slower"),
        pytest.param(
            [10, 10.01, 9.99, 10], [10.2, 10.21, 10.19, 10.2], Direction.NOISE, id="too little"
        ),
        pytest.param([10, 14, 8, 12], [12, 16, 9, 13], Direction.NOISE, id="within the spread"),
        pytest.param([10], [20], Direction.UNKNOWN, id="one sample of each"),
    ],
)
def test_a_difference_is_judged_by_its_size_its_spread_and_chance(
    before: list[float], after: list[float], expected: Direction
) -> None:
    found = difference(before, after)

    assert judge(found, found.p) == expected
    assert is_noise(before, after) == (expected in (Direction.NOISE, Direction.UNKNOWN))


def test_of_milliseconds_less_is_better() -> None:
    found = difference([100, 101, 99, 100], [80, 81, 79, 80])

    assert judge(found, found.p, more_is_better=False) == Direction.BETTER
    assert found.percent == -20.0


def test_one_sample_has_no_deviation() -> None:
    assert deviation(spread([7.0])) == "-"
    assert deviation(spread([7.0, 7.0])) == "0.000"
