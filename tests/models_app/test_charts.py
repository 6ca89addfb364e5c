import pytest

from models_app.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, draw

TIMES = ["10:00", "10:01", "10:02", "10:03"]


def test_a_line_goes_from_the_first_time_to_the_last_and_the_largest_value_has_room() -> None:
    drawing = draw(Chart("Tokens per second", TIMES, [Series("all", [0, 5, 10, 20])]))

    (line,) = drawing.lines
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[-1][1] == TOP
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT for x, y in points)
    assert [mark.text for mark in drawing.levels] == ["0", "10", "20"]


def test_what_is_not_known_is_a_gap_and_not_a_zero() -> None:
    drawing = draw(Chart("First token", TIMES, [Series("p50", [1.0, None, 2.0, 3.0])]))

    assert [len(line.points.split()) for line in drawing.lines] == [2]
    assert len(drawing.dots) == 1
    assert drawing.slices[1].text == "10:01 - nothing"


def test_bars_stand_on_each_other() -> None:
    series = [Series("answered", [3, 0, 1, 2]), Series("failed", [1, 0, 0, 2])]
    drawing = draw(Chart("Requests", TIMES, series, kind="bars"))

    first, second = (bar for bar in drawing.bars if bar.x < 100)
    assert second.y + second.height == pytest.approx(first.y, abs=0.2)
    assert len(drawing.bars) == 5  # none of nothing
    assert drawing.slices[0].text == "10:00 - answered: 3, failed: 1"


@pytest.mark.parametrize(
    ("most", "levels"), [(1, ["0", "1"]), (5, ["0", "5"]), (20, ["0", "10", "20"])]
)
def test_of_what_is_counted_no_line_stands_at_a_half(most: int, levels: list[str]) -> None:
    drawing = draw(Chart("Requests", TIMES, [Series("all", [most, 0, 0, 1])], kind="bars"))

    assert [mark.text for mark in drawing.levels] == levels


def test_of_nothing_there_is_an_empty_chart() -> None:
    assert draw(Chart("Requests", [], [])).is_empty
    assert draw(Chart("Requests", TIMES, [Series("all", [None] * 4)])).is_empty


def test_series_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="4 values each"):
        draw(Chart("Requests", TIMES, [Series("all", [1.0])]))
