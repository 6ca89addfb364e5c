"""Room on the disk of the data folder: what is too little, and what is none."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from django.conf import settings

LOW_BYTES: Final = 2**30
FULL_BYTES: Final = 16 * 2**20  # below that, nothing is begun that writes


class Space(NamedTuple):
    free_bytes: int
    total_bytes: int

    @property
    def is_low(self) -> bool:
        return self.free_bytes < LOW_BYTES

    @property
    def is_full(self) -> bool:
        return self.free_bytes < FULL_BYTES


def space_of(folder: Path) -> Space:
    """Return the room on the disk of `folder`, or of the nearest around it that is there.

    Raises:
        OSError: it cannot be looked at.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(there)
    return Space(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def shortage() -> str:
    """Return why no server can be launched for want of room; empty where there is some.

    Its keeper could not write down that it runs, nor its log what it says.
    """
    try:
        space = space_of(Path(settings.MAGI_DATA_DIR))
    except OSError as error:
        return f"The data folder cannot be looked at: {error.strerror}. Mend that."
    if not space.is_full:
        return ""
    return (
        f"No space left: the disk of the data folder has less than {FULL_BYTES // 2**20} MiB. "
        "Free some, and it is started."
    )
