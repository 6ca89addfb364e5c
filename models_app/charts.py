"""Charts as SVG, drawn on the server: they need no script, and no style in the page.

Pure: from figures to places in a picture. templates/admin/magi/chart.html writes it down.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

WIDTH, HEIGHT = 640, 170  # of the picture, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 6, 8, 20  # what its labels take
SERIES: Final = 5  # that the style sheet has colours for


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    values: Sequence[float | None]  # one for each time of the chart; None: nothing is known


@dataclass(frozen=True, slots=True)
class Chart:
    """What is to be drawn.

    `labels` are those of the times, one for each value of a series; all series are alike long.
    """

    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    kind: Literal["lines", "bars"] = "lines"  # bars are of what is counted
    unit: str = ""
    summary: str = ""  # the figure that matters most, in words: beside the title


@dataclass(frozen=True, slots=True)
class Mark:
    """A line at a value, or the label of a time."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    number: int  # of its series, from 1
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    points: str  # as a polyline has them


@dataclass(frozen=True, slots=True)
class Dot:
    """A value that has none beside it: no line would show it."""

    number: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of the picture that belongs to one time, and what is told there."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    chart: Chart
    levels: list[Mark]
    times: list[Mark]
    slices: list[Slice]
    lines: list[Line]
    dots: list[Dot]
    bars: list[Bar]

    @property
    def is_empty(self) -> bool:
        return not (self.lines or self.dots or self.bars)


def draw(chart: Chart) -> Drawing:
    """Return where everything of a chart stands.

    Raises:
        ValueError: a series has another length than the labels, or there are too many.
    """
    count = len(chart.labels)
    if len(chart.series) > SERIES or any(len(each.values) != count for each in chart.series):
        message = f"Series of a chart: {SERIES} at most, with {count} values each."
        raise ValueError(message)
    top = ceiling(max(_sums(chart), default=0.0))
    slot = (WIDTH - LEFT - RIGHT) / max(count, 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top), 1)

    def x(index: float) -> float:
        return round(LEFT + slot * index, 1)

    return Drawing(
        chart,
        levels=[Mark(y(value), figure(value)) for value in _levels(chart, top)],
        times=[Mark(x(index + 0.5), chart.labels[index]) for index in _ticks(count)],
        slices=[Slice(x(i), round(slot, 2), _told(chart, i)) for i in range(count)],
        lines=list(_lines(chart, x, y)) if chart.kind == "lines" else [],
        dots=list(_dots(chart, x, y)) if chart.kind == "lines" else [],
        bars=list(_bars(chart, x, y, slot)) if chart.kind == "bars" else [],
    )


def ceiling(value: float) -> float:
    """Return the next round figure from `value` on: 1, 2 or 5 of a power of ten.

    >>> [ceiling(value) for value in (0, 0.07, 3, 11, 50)]
    [1.0, 0.1, 5.0, 20.0, 50.0]
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def figure(value: float) -> str:
    """Return a figure as short as an axis has it.

    >>> [figure(value) for value in (0, 0.05, 2.5, 40, 1500, 20_000_000)]
    ['0', '0.05', '2.5', '40', '1.5k', '20M']
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _sums(chart: Chart) -> Iterator[float]:
    """Yield what has to have room: a value, or what bars upon each other come to."""
    if chart.kind == "lines":
        yield from (
            value for each in chart.series for value in each.values if value is not None
        )
        return
    for values in zip(*(each.values for each in chart.series), strict=True):
        yield sum(value or 0 for value in values)


def _levels(chart: Chart, top: float) -> list[float]:
    """Return the values that get a line; bars count things, of which there is no half."""
    half = top / 2
    return [0, half, top] if chart.kind == "lines" or half.is_integer() else [0, top]


def _ticks(count: int) -> range:
    return range(0, count, max(1, math.ceil(count / 7)))


def _told(chart: Chart, index: int) -> str:
    said = [
        f"{each.label}: {value:,.4g} {chart.unit}".strip()
        for each in chart.series
        if (value := each.values[index]) is not None
    ]
    return f"{chart.labels[index]} - {', '.join(said) or 'nothing'}"


Place = Callable[[float], float]


def _stretches(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Yield the runs of values that are known, each with its index."""
    for is_known, run in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if is_known:
            yield [(index, value) for index, value in run if value is not None]


def _lines(chart: Chart, x: Place, y: Place) -> Iterator[Line]:
    for number, each in enumerate(chart.series, 1):
        for run in _stretches(each.values):
            if len(run) > 1:
                yield Line(number, " ".join(f"{x(i + 0.5)},{y(value)}" for i, value in run))


def _dots(chart: Chart, x: Place, y: Place) -> Iterator[Dot]:
    for number, each in enumerate(chart.series, 1):
        for run in _stretches(each.values):
            if len(run) == 1:
                index, value = run[0]
                yield Dot(number, x(index + 0.5), y(value))


def _bars(chart: Chart, x: Place, y: Place, slot: float) -> Iterator[Bar]:
    for index in range(len(chart.labels)):
        base = 0.0
        for number, each in enumerate(chart.series, 1):
            value = each.values[index] or 0.0
            if value > 0:
                height = round(y(base) - y(base + value), 1)
                yield Bar(number, x(index + 0.1), y(base + value), round(slot * 0.8, 2), height)
                base += value
