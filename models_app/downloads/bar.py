"""A download on the terminal: a bar with its rate, and when it ends."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from models_app.download_models import Download, DownloadState
from models_app.downloads.figures import eta_seconds, rate_text, size_text
from models_app.downloads.worker import Look

_WORDS = {
    DownloadState.QUEUED: "waits for its turn",
    DownloadState.VERIFYING: "checks its hash",
}


class DownloadBar:
    """A context manager; what is worth keeping is printed above the bar."""

    def __init__(self, console: Console, row: Download) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task(row.reference, total=None, figures="")
        self._said = {""}

    def show(self, look: Look) -> None:
        row = look.row
        if look.note:
            self._say(look.note)
        if look.trouble:
            self._say(f"[yellow]Trying again:[/] {escape(look.trouble)}", is_markup=True)
        self._progress.update(
            self._task,
            total=row.total_bytes,
            completed=row.done_bytes,
            figures=figures(row),
        )

    def _say(self, text: str, *, is_markup: bool = False) -> None:
        if text not in self._said:
            self._said.add(text)
            self._console.print(text, markup=is_markup, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def figures(row: Download) -> str:
    """Return `1.2 GB of 3.8 GB, 24.0 MB/s, 1:48 left`."""
    if row.state in _WORDS:
        return _WORDS[DownloadState(row.state)]
    if row.total_bytes is None:
        return "asks what there is"
    parts = [f"{size_text(row.done_bytes)} of {size_text(row.total_bytes)}"]
    if row.bytes_per_s:
        parts.append(rate_text(row.bytes_per_s))
    if (left := eta_seconds(row)) is not None:
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        parts.append(f"{clock} left")
    return ", ".join(parts)
