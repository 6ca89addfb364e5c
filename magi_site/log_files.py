"""The logs of MAGI's own processes, turned over while these write them.

Each process has its log open for as long as it runs. It appends (O_APPEND), so the log is
copied and emptied, and what comes next is at the new beginning. What is written between the
last read and that is lost: a line or two in 10 MiB.
"""

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MAX_LOG_BYTES: Final = 10 * 2**20
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def turn_over(path: Path) -> bool:
    """Keep a log that is past MAX_LOG_BYTES as `.1`, in the place of the one before, and empty
    it. On a full disk it is emptied all the same: that makes room.

    Returns:
        Whether it was emptied.
    """
    try:
        if path.stat().st_size <= MAX_LOG_BYTES:
            return False
        _copy(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s grows on, it cannot be turned over: %s", path, error)
        return False
    return True


def _copy(path: Path, earlier: Path) -> None:
    temporary = earlier.with_name(f"{earlier.name}.tmp")
    try:
        shutil.copyfile(path, temporary)
        temporary.chmod(0o600)
        temporary.replace(earlier)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in _NO_SPACE:
            raise
        earlier.unlink(missing_ok=True)
