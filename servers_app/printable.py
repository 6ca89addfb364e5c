"""Make what a program has written fit to be shown: nothing in it controls a terminal."""

import re
from typing import Final

# ECMA-48: CSI with its parameters, OSC up to its end, or an escape and what it escapes.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b.?"
)


def printable(line: str, max_chars: int) -> str:
    """Return a line without escape sequences, control and invisible characters.

    Args:
        line: of any length; no more than four times `max_chars` of it is looked at.
        max_chars: a longer line is cut, and ends in an ellipsis.
    """
    shown = line[: 4 * max_chars]
    if not shown.isprintable():
        shown = _ESCAPES.sub("", shown)
        shown = "".join(char if char.isprintable() else " " for char in shown)
    is_cut = len(shown) > max_chars or len(line) > 4 * max_chars
    return f"{shown[: max_chars - 1]}…" if is_cut else shown
