"""How deep arrays and objects of parsed JSON stand inside each other."""

from typing import Any, Final

MAX_DEPTH: Final = 64  # nothing that people send has a third of it


def is_deeper(value: object, levels: int = MAX_DEPTH) -> bool:
    """Whether more than `levels` arrays and objects stand inside each other.

    Without recursion: what is looked at here may be deeper than the stack. Texts and numbers
    are passed over, so that a long text costs no more than a word.
    """
    layer: list[Any] = [value] if type(value) in (dict, list) else []
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not layer:
            return False
    return True
