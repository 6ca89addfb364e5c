"""Benchmarks on the terminal: tables, and a bar that moves while one is measured."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from servers_app.bench.comparing import NAMES, Comparison
from servers_app.bench.results import DEPTH, FIRST_ANSWER, LOAD, Figure, figures_of
from servers_app.bench.spread import Direction, Spread
from servers_app.benchmark_models import Benchmark, BenchmarkState

_COLOURS = {
    BenchmarkState.FINISHED: "green",
    BenchmarkState.RUNNING: "yellow",
    BenchmarkState.QUEUED: "yellow",
    BenchmarkState.FAILED: "red",
    BenchmarkState.CANCELLED: "dim",
}
_DIRECTIONS = {Direction.BETTER: "green", Direction.WORSE: "red"}


def where(figure: Figure) -> str:
    """Return under what conditions a figure was measured, as a table has it."""
    if figure.measured == FIRST_ANSWER:
        return "first answer after the load"
    if figure.measured == LOAD:
        return "load"
    if figure.measured == DEPTH:
        return f"{figure.context:,} tokens"
    return f"{figure.clients} at once"


def figures_table(benchmark: Benchmark) -> Table:
    table = Table(
        Column("Measured", no_wrap=True),
        Column("Figure", no_wrap=True),
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("Median", "Mean", "± s.d.", "Least", "Most", "Samples")
        ),
        box=None,
    )
    for figure in figures_of(benchmark):
        found = figure.spread
        table.add_row(
            where(figure),
            NAMES[figure.name],
            *map(shown, (found.median, found.mean)),
            deviation(found),
            *map(shown, (found.min, found.max)),
            str(found.count),
        )
    return table


def benchmarks_table(benchmarks: Iterable[Benchmark]) -> Table:
    table = Table(
        Column("Id", justify="right"),
        Column("When", no_wrap=True),
        Column("Model", no_wrap=True),
        "Node",
        "State",
        Column("Prompt/s", justify="right"),
        Column("Generation/s", justify="right"),
        Column("First ms", justify="right"),
        Column("MiB", justify="right"),
        Column("Note or error", overflow="fold", min_width=20),
        box=None,
    )
    for each in benchmarks:
        table.add_row(
            str(each.pk),
            f"{timezone.localtime(each.asked_at):%Y-%m-%d %H:%M}",
            escape(each.model_id),
            escape(each.node),
            f"[{_COLOURS[BenchmarkState(each.state)]}]{each.state}[/]",
            shown(each.prompt_tokens_per_s),
            shown(each.generation_tokens_per_s),
            shown(each.first_token_ms),
            str(each.peak_ram_mib or "-"),
            escape(each.error or each.note),
        )
    return table


def comparison_table(comparison: Comparison) -> Table:
    table = Table(
        "Figure",
        Column(f"Benchmark {comparison.a.pk}", justify="right"),
        Column(f"Benchmark {comparison.b.pk}", justify="right"),
        "The second",
        Column("p", justify="right"),
        box=None,
    )
    for line in comparison.lines:
        before, after = line.difference.before, line.difference.after
        colour = _DIRECTIONS.get(line.direction, "dim")
        table.add_row(
            line.label,
            f"{shown(before.median)} ± {deviation(before)}",
            f"{shown(after.median)} ± {deviation(after)}",
            f"[{colour}]{line.sentence}[/]",
            "-" if line.p is None else f"{line.p:.2g}",
        )
    return table


def deviation(spread: Spread) -> str:
    """Return the standard deviation; one sample has none."""
    return shown(spread.stdev if spread.count > 1 else None)


def shown(value: float | None) -> str:
    """Return a figure with three digits that say something.

    >>> [shown(value) for value in (None, 0.01234, 12.34, 1234.5)]
    ['-', '0.012', '12.3', '1,234']
    """
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


class Bar:
    """The bar of one benchmark."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=1.0, note="")

    def show(self, benchmark: Benchmark) -> None:
        self._progress.update(self._task, completed=benchmark.progress, note=benchmark.note)

    def wait(self, note: str) -> None:
        self._progress.update(self._task, note=note)


@contextmanager
def bar(console: Console, name: str) -> Iterator[Bar]:
    """Show a bar, gone at the end; nothing where no terminal is."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
    )
    is_hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        yield Bar(progress, name)
