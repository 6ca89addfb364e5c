"""Which changes below a scan root call for a rescan, and when they have come to rest."""

from collections.abc import Callable, Iterable
from pathlib import PurePath

from watchfiles import Change

SETTLE_S = 2.0  # a file that has not changed for so long is taken as whole
MAX_WAIT_S = 30.0  # how long a whole file waits for others that still grow

_MODEL_SUFFIXES = (".gguf", ".sbs", ".spm")  # .spm: the tokenizer that .sbs weights need
_PASSING_SUFFIXES = (".incomplete", ".part", ".lock", ".tmp")
_MANIFESTS = "manifests"  # Ollama's: a model is there as soon as its manifest is
_BOOKKEEPING = frozenset({"blobs", "refs", ".locks", ".no_exist"})  # of caches


def matters(
    change: Change, path: str, roots: Iterable[str], *, is_folder: Callable[[str], bool]
) -> bool:
    """Return whether a scan could find something else than before.

    A folder that is moved in or out is told by its own name alone, and what a deleted
    name was, file or folder, nobody can tell any more.

    Args:
        roots: the folders that are watched, of which `path` is in one.
        is_folder: whether there is a folder of that name now.
    """
    inside = _inside(PurePath(path), roots)
    if inside.name.lower().endswith(_MODEL_SUFFIXES) or _MANIFESTS in inside.parts:
        return True
    if _BOOKKEEPING.intersection(inside.parts) or inside.name.endswith(_PASSING_SUFFIXES):
        return False
    return change == Change.deleted or (change == Change.added and is_folder(path))


class Landings:
    """What changed and was not scanned since. Every `now` is in seconds of one clock."""

    def __init__(self, *, settle_s: float = SETTLE_S, max_wait_s: float = MAX_WAIT_S) -> None:
        self._settle_s = settle_s
        self._max_wait_s = max_wait_s
        self._changed_at: dict[str, float] = {}

    def note(self, path: str, now: float) -> None:
        self._changed_at[path] = now

    def is_due(self, now: float) -> bool:
        """Whether all is at rest, or something has rested for long while others grow."""
        at_rest = [at for at in self._changed_at.values() if self._rests(at, now)]
        if len(at_rest) == len(self._changed_at):
            return bool(at_rest)
        return bool(at_rest) and now - min(at_rest) >= self._max_wait_s

    def forget_settled(self, now: float) -> None:
        """A rescan was asked for, which sees all that is at rest by now."""
        self._changed_at = {
            path: at for path, at in self._changed_at.items() if not self._rests(at, now)
        }

    def _rests(self, changed_at: float, now: float) -> bool:
        return now - changed_at >= self._settle_s


def _inside(path: PurePath, roots: Iterable[str]) -> PurePath:
    for root in roots:
        if path.is_relative_to(root):
            return path.relative_to(root)
    return path
