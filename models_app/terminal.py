"""What MAGI's commands print to: a terminal, or a pipe."""

from typing import Final

from rich.console import Console

PIPED_WIDTH: Final = 200  # columns, where no terminal has one
INTERRUPTED: Final = 130  # the status after Ctrl-C, as a shell has it


def make_console(*, stderr: bool = False, piped_width: int = PIPED_WIDTH) -> Console:
    """Return a console for tables; rich folds what goes into a pipe at 80 columns."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = piped_width
    return console
