"""Comparisons on the terminal: tables, two answers side by side, and a bar."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from servers_app.comparing.prompts import parts_of
from servers_app.comparing.shown import ShownPrompt, ShownResult, task_label

_NONE_YET = "(no answer yet)"


def list_table(rows: Iterable[dict[str, Any]]) -> Table:
    table = Table("No.", "Models", "State", "Done", "Asked", "By", "Name", box=None)
    for row in rows:
        table.add_row(
            str(row["id"]),
            escape(f"{row['model_a']} and {row['model_b']}"),
            row["state"],
            f"{row['percent']} %",
            f"{timezone.localtime(row['asked_at']):%Y-%m-%d %H:%M}",
            escape(row["asked_by"] or "-"),
            escape(row["name"]),
        )
    return table


def pair(prompt: ShownPrompt, *, of: int) -> RenderableType:
    """Return a prompt with its two answers, as whoever votes may see them."""
    text, images = parts_of(prompt["prompt"])
    shown = f"[{len(images)} image] {text}" if images else text
    title = f"{prompt['position'] + 1} of {of}, {task_label(prompt['task']).lower()}"
    answers = [
        _answer("Left", prompt["left"], prompt["left_model"]),
        _answer("Right", prompt["right"], prompt["right_model"]),
    ]
    return Group(
        Panel(Text(shown), title=title, title_align="left"),
        Columns(answers, equal=True, expand=True),
    )


def results_table(results: Iterable[ShownResult], a: str, b: str) -> Table:
    table = Table("Task", escape(a), escape(b), "Ties", "What that says", box=None)
    for result in results:
        table.add_row(
            task_label(result["task"]),
            str(result["wins"]),
            str(result["losses"]),
            str(result["ties"]),
            escape(result["sentence"]),
        )
    return table


@contextmanager
def bar(console: Console, label: str) -> Iterator["Bar"]:
    """Show a bar, gone at the end; nothing where no terminal is."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=32),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
    )
    is_hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        yield Bar(progress, label)


class Bar:
    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=100, note="")

    def show(self, percent: float, note: str = "") -> None:
        self._progress.update(self._task, completed=percent, note=note)


def _answer(side: str, answer: dict[str, Any] | None, model: str | None) -> Panel:
    title = f"{side}: {model}" if model else side
    if answer is None:
        return Panel(Text(_NONE_YET, style="dim"), title=Text(title), title_align="left")
    if "error" in answer:
        return Panel(Text(answer["error"], style="red"), title=Text(title), title_align="left")
    figures = []
    if answer.get("tokens_per_s"):
        figures.append(f"{answer['tokens_per_s']:.1f} tokens/s")
    if answer.get("seconds"):
        figures.append(f"{answer['seconds']:.1f} s")
    return Panel(
        Text(answer.get("text") or "(an empty answer)"),
        title=Text(title),
        title_align="left",
        subtitle=Text(", ".join(figures)) if figures else None,
    )
