"""What lies on a node's disk and is needed no more, such as folders of servers that are gone.

Each node looks after its own: nobody else sees its data folder.
"""

import logging
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings

from models_app.downloads.left_parts import left_parts, remove
from models_app.locks import forget_lock, locks_from_before, node_lock
from models_app.retention import Bound
from servers_app import launcher
from servers_app.bench.promises import NUMBERS
from servers_app.models import Server

log = logging.getLogger(__name__)

KEPT_DAYS: Final = 7  # for whoever wants to know why it ended


def bounds(node: str) -> tuple[Bound, ...]:
    """Return the bounds of what is on the disks of this node, `node`."""
    return (
        Bound(
            "folders of forgotten servers",
            lambda: f"{KEPT_DAYS} days",
            lambda now: sum(1 for _ in _forgotten(now)),
            lambda now: sum(_remove(server_id, now) for server_id in list(_forgotten(now))),
        ),
        Bound(
            "parts of cancelled downloads",
            lambda: f"{settings.MAGI_PARTIAL_DAYS} days",
            lambda now: len(left_parts(node, now)),
            lambda now: remove(left_parts(node, now)),
        ),
        Bound(
            "locks",
            lambda: f"{KEPT_DAYS} days after somebody asked for one",
            lambda now: len(locks_from_before(_oldest(now))),
            lambda now: sum(map(forget_lock, locks_from_before(_oldest(now)))),
        ),
    )


def _oldest(now: datetime) -> float:
    """Return the Unix time since which what is kept was used."""
    return (now - timedelta(days=KEPT_DAYS)).timestamp()


def _forgotten(now: datetime) -> Iterator[int]:
    folder = Path(settings.MAGI_DATA_DIR) / "servers"
    if not folder.is_dir():
        return
    ids = [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()]
    known = set(Server.objects.order_by().values_list("pk", flat=True))
    for server_id in sorted(set(ids) - known - set(NUMBERS)):
        if _is_old(launcher.server_dir(server_id), now) and not launcher.is_kept(server_id):
            yield server_id


def _is_old(folder: Path, now: datetime) -> bool:
    """Whether nothing in it was written for KEPT_DAYS."""
    try:
        return all(path.lstat().st_mtime < _oldest(now) for path in (folder, *folder.iterdir()))
    except OSError:  # it goes just now
        return False


def _remove(server_id: int, now: datetime) -> bool:
    """Remove a folder, unless a row or a keeper has come to it meanwhile."""
    folder = launcher.server_dir(server_id)
    with node_lock(f"server-{server_id}") as held:
        if not held or launcher.is_kept(server_id) or not _is_old(folder, now):
            return False
        if Server.objects.filter(pk=server_id).exists():
            return False
        shutil.rmtree(folder)
    log.info("Removed %s: no row knows a server %d any more", folder, server_id)
    return True
