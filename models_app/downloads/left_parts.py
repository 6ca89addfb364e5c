"""What cancelled downloads have left: parts of files, which are kept for some days.

Whoever asks again within them goes on where it stopped. What failed was wanted to its end, so
its parts stay until a day before its row goes: nobody would know of them then.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db.models import Q

from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.downloads.figures import size_text

log = logging.getLogger(__name__)

# Of a Hugging Face cache, of Ollama's store, and there beside what `ollama pull` has begun; of
# copies in a folder of MAGI's own.
PARTS: Final = (
    "models--*/blobs/{digest}.incomplete",
    "blobs/sha256-{digest}-partial",
    "blobs/sha256-{digest}-partial.magi",
    "*/{digest}.part",
    "*/{digest}.incomplete",
)


def left_parts(node: str, now: datetime) -> list[Path]:
    """Return the parts on this node, `node`, that nobody has wanted or written for days."""
    oldest = now - timedelta(days=settings.MAGI_PARTIAL_DAYS)
    rows = Download.objects.filter(node=node).exclude(folder="")
    is_over = Q(state=DownloadState.CANCELLED, finished_at__lt=oldest)
    if settings.MAGI_HISTORY_DAYS:
        goes_at = now - timedelta(days=settings.MAGI_HISTORY_DAYS - 1)
        is_over |= Q(state=DownloadState.FAILED, asked_at__lt=goes_at)
    wanted = rows.filter(state__in=(*UNDER_WAY, DownloadState.FAILED)).exclude(is_over)
    kept = {digest for row in wanted for digest in _digests(row)}
    found = {
        path
        for row in rows.filter(is_over)
        for digest in _digests(row)
        if digest not in kept
        for path in _parts(Path(row.folder), digest)
        if _written_at(path) < oldest.timestamp()
    }
    return sorted(found)


def remove(paths: list[Path]) -> int:
    """Remove parts that nobody is writing; return how many."""
    return sum(map(_remove, paths))


def _digests(download: Download) -> Iterator[str]:
    for file in download.files:
        digest = str(file.get("sha256") or "")
        if digest.isalnum():  # it becomes part of a pattern
            yield digest.lower()


def _parts(folder: Path, digest: str) -> Iterator[Path]:
    for pattern in PARTS:
        with suppress(OSError):
            yield from folder.glob(pattern.format(digest=digest))


def _written_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return float("inf")


def _remove(path: Path) -> bool:
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)) as file:
            # Who fetches holds it; who waits for it looks whether the name is still its own.
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            size_bytes = os.fstat(file.fileno()).st_size
            path.unlink()
    except OSError:
        return False
    log.info("Removed %s, %s of a download that has ended", path, size_text(size_bytes))
    return True
