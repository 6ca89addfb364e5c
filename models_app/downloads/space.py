"""Room on the disk: looked at before a download, and while it runs."""

import shutil
from pathlib import Path

from django.conf import settings

from models_app.downloads.figures import size_text
from models_app.errors import DiskFullError


def require_space(folder: Path, n_bytes: int) -> None:
    """Make sure that `n_bytes` more fit on the disk of `folder`.

    What MAGI_DOWNLOAD_RESERVE_MIB says stays free. A folder that is not there yet is
    looked at by the nearest one around it that is.

    Raises:
        DiskFullError: they do not.
    """
    reserve = settings.MAGI_DOWNLOAD_RESERVE_MIB * 2**20
    free = free_bytes(folder)
    if n_bytes + reserve > free:
        why = (
            f"It needs {size_text(n_bytes)} more, and {size_text(reserve)} are to stay free; "
            f"there are {size_text(free)}."
        )
        raise full(why)


def free_bytes(folder: Path) -> int:
    for path in (folder, *folder.parents):
        if path.exists():
            return shutil.disk_usage(path).free
    return 0


def full(what: str) -> DiskFullError:
    return DiskFullError(
        f"The disk that models are fetched onto is full. {what} Free some of it, or fetch to "
        "another disk (HF_HUB_CACHE, OLLAMA_MODELS), and ask again: it goes on where it "
        "stopped."
    )
