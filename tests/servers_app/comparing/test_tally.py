"""What votes come to: the arithmetic, and the words."""

import pytest

from servers_app.comparing.tally import Standing, Tally, result_of, sentence, sign_test, wilson


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        pytest.param(6, 0, 0.03125, id="six that agree"),
        pytest.param(5, 0, 0.0625, id="five that agree"),
        pytest.param(9, 1, 0.02148, id="nine to one"),
        pytest.param(7, 2, 0.17969, id="seven to two"),
        pytest.param(15, 5, 0.04139, id="fifteen to five"),
        pytest.param(4, 4, 1.0, id="even"),
    ],
)
def test_the_sign_test_is_exact_and_takes_no_side(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, abs=1e-5)
    assert sign_test(losses, wins) == sign_test(wins, losses)


@pytest.mark.parametrize(
    ("wins", "count", "low", "high"),
    [
        pytest.param(0, 10, 0.0, 0.2775, id="none"),
        pytest.param(10, 10, 0.7225, 1.0, id="all"),
        pytest.param(5, 10, 0.2366, 0.7634, id="half"),
        pytest.param(81, 263, 0.2553, 0.3662, id="of Newcombe's paper"),
    ],
)
def test_the_interval_is_wilsons(wins: int, count: int, low: float, high: float) -> None:
    assert wilson(wins, count) == pytest.approx((low, high), abs=1e-4)


def test_ties_say_nothing_for_either() -> None:
    assert result_of(Tally(6, 0, 90)).standing == result_of(Tally(6, 0)).standing
    assert result_of(Tally(0, 0, 90)).p is None


def test_a_result_is_the_same_from_both_sides() -> None:
    won, lost = result_of(Tally(9, 1, 2)), result_of(Tally(9, 1, 2).turned)

    assert (won.standing, lost.standing) == (Standing.A_BETTER, Standing.B_BETTER)
    assert won.p == lost.p


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        pytest.param(
            Tally(9, 1, 2),
            "a won 9 of 10 (2 ties): that is more than chance (p = 0.021).",
            id="clear",
        ),
        pytest.param(
            Tally(2, 7), "b won 7 of 9: that may be chance (p = 0.180).", id="not clear"
        ),
        pytest.param(
            Tally(4, 1, 1),
            "a won 4 of 5 (1 tie): too few votes to tell. It takes six that agree.",
            id="few",
        ),
        pytest.param(Tally(3, 3), "a and b won 3 each: no difference is seen.", id="even"),
        pytest.param(Tally(), "Nobody has voted yet. Too few votes to tell.", id="none"),
        pytest.param(
            Tally(0, 0, 3), "No vote for either (3 ties). Too few votes to tell.", id="ties"
        ),
        pytest.param(
            Tally(40, 2), "a won 40 of 42: that is more than chance (p < 0.001).", id="many"
        ),
    ],
)
def test_a_result_is_said_in_words(tally: Tally, said: str) -> None:
    assert sentence(result_of(tally), "a", "b") == said
