"""How far a backup or a restore is, and what it came to, as commands tell it."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from magi_site.backup.archive import Manifest


class TableProgress:
    """A bar of the rows of the table that is being read or written, on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def table(self, label: str, rows: int) -> None:
        self._progress.reset(self._task, total=rows, description=label)

    def rows(self, count: int) -> None:
        self._progress.advance(self._task, count)


def summary(path: Path, manifest: Manifest, size_bytes: int) -> dict[str, Any]:
    """Return what `--json` prints of an archive."""
    return {
        "file": str(path),
        "size_bytes": size_bytes,
        "made_at": manifest.made_at,
        "magi": manifest.magi,
        "node": manifest.node,
        "database": manifest.database,
        "rows": manifest.rows,
        "has_secret_key": manifest.has_secret_key,
    }


def counted(count: int, what: str) -> str:
    """Return such as "1 server is", "2 servers are"."""
    return f"1 {what} is" if count == 1 else f"{count:,} {what}s are"
