"""How two texts differ, as the lines of a page."""

import difflib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple


class DiffLine(NamedTuple):
    kind: str  # added, removed, same or gap
    text: str


def diff_lines(before: str, after: str) -> list[DiffLine]:
    """Return what was taken out and put in, with three lines around it; none if nothing was.

    >>> [tuple(line) for line in diff_lines("a\\nb\\n", "a\\nc\\n")]
    [('same', 'a'), ('removed', 'b'), ('added', 'c')]
    """
    return list(_lines(before, after))


def _lines(before: str, after: str) -> Iterator[DiffLine]:
    kinds = {"+": "added", "-": "removed", " ": "same"}
    unified = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="")
    # The first lines name two files and the first place.
    for line in islice(unified, 3, None):
        is_gap = line.startswith("@@")
        yield DiffLine("gap", "…") if is_gap else DiffLine(kinds[line[0]], line[1:])
