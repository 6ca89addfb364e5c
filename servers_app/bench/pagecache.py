"""What of a model's files the system keeps in memory, and how to have it forget that.

A load is cold when every byte comes from the disk. The system may be asked to drop a file
from its page cache (posix_fadvise, DONTNEED), and keeps what another process has mapped; so
afterwards it is looked at what is still there.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from models_app.filename import Shard
from models_app.models import DiscoveredModel

LOOKS: Final = 64  # places of a file that are looked at
NEARLY_ALL: Final = 0.05


def files_of(model: DiscoveredModel) -> list[Path]:
    """Return what a load reads: every shard, and the projector."""
    first = Path(model.file_path)
    files = [first]
    shard = Shard.parse(first.stem)
    if shard is not None:
        head = first.stem.removesuffix(f"{shard.index:05}-of-{shard.total:05}")
        files = [
            first.with_name(f"{head}{index:05}-of-{shard.total:05}{first.suffix}")
            for index in range(1, shard.total + 1)
        ]
    if model.projector_path:
        files.append(Path(model.projector_path))
    return files


def drop(files: Iterable[Path]) -> str:
    """Have the system forget `files`; return why a load is not cold, or nothing if it is."""
    if not hasattr(os, "posix_fadvise"):
        return "this system cannot be asked to drop a file from its cache"
    kept: list[float] = []
    for path in files:
        try:
            kept.append(_dropped(path))
        except OSError as error:
            return f"{path.name} could not be dropped from the cache: {error.strerror}"
    if (most := max(kept, default=0.0)) > NEARLY_ALL:
        return f"{most:.0%} of a file stayed in the cache; another process may have it mapped"
    return ""


def _dropped(path: Path) -> float:
    """Return which part of a file is in the cache after it was dropped; 0 if nobody knows."""
    with path.open("rb") as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached(descriptor, size)


def _cached(descriptor: int, size: int) -> float:
    """Look at places of a file without reading any from the disk (RWF_NOWAIT, Linux)."""
    if not hasattr(os, "RWF_NOWAIT") or not size:
        return 0.0
    found = 0
    for place in range(LOOKS):
        try:
            found += os.preadv(descriptor, [bytearray(1)], size * place // LOOKS, os.RWF_NOWAIT)
        except BlockingIOError:  # it would have to be read
            continue
        except OSError:
            return 0.0  # this filesystem cannot say
    return found / LOOKS
