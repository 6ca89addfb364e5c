"""What must hold before a worker works for its node, and what it does there first.

Each refusal is one sentence. A worker that is refused ends; whoever keeps it starts it again.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from celery.signals import celeryd_after_setup
from django.conf import settings
from django.db import Error, connection, connections
from django.db.migrations.loader import MigrationLoader

from models_app.errors import QueueUnavailableError
from models_app.models import Scan
from models_app.queue import enqueue
from models_app.tasks import rescan
from servers_app.errors import NodeNotJoinedError, NodeTakenError
from servers_app.models import Node
from servers_app.node_facts import key_here
from servers_app.nodes import SILENCE_S, alive_nodes, is_taken

log = logging.getLogger(__name__)

POLL_S: Final = 1.0
FIRST_SCAN_AFTER: Final = 3  # beats: `manage.py run` scans by itself, and is let go first
LOOKED_AGAIN_AFTER: Final = 24  # beats: two minutes


def check_in_workers() -> None:
    """Have the Celery worker of this process checked before it begins; call it at import."""

    def check(**_signal: Any) -> None:
        try:
            check_joining()
        except NodeNotJoinedError as error:
            sys.exit(f"This worker cannot work for node {settings.MAGI_NODE}: {error}")
        except Error as error:
            log.warning("The database cannot be asked yet: %s", error)
        finally:
            connections.close_all()

    celeryd_after_setup.connect(check, weak=False)


def check_joining(*, sleep: Callable[[float], None] = time.sleep) -> None:
    """Make sure that this process may be the worker of its node.

    Where another one was until now, it waits until that beats once more, or is silent.

    Raises:
        NodeNotJoinedError: it may not.
        django.db.Error: the database cannot be asked.
    """
    if _check_tables():  # otherwise its heartbeat fails, and nothing is done, until it will
        _check_key()
        _check_name(sleep)


def _check_tables() -> bool:
    """Say how the database differs from what this version of MAGI has; whether it will do."""
    loader = MigrationLoader(connection)
    missing = loader.disk_migrations.keys() - loader.applied_migrations.keys()
    if missing:
        log.error(
            "The database is older than this version of MAGI, %s: it lacks %s. Nothing is done "
            "before manage.py migrate was run.",
            settings.MAGI_VERSION,
            _named(missing),
        )
        return False
    ours = {app for app, _ in loader.disk_migrations}
    newer = {key for key in loader.applied_migrations if key[0] in ours}
    newer -= loader.disk_migrations.keys()
    if newer:
        log.warning(
            "The database is newer than this version of MAGI, %s: it has %s. Upgrade this "
            "machine, too.",
            settings.MAGI_VERSION,
            _named(newer),
        )
    return True


def _check_key() -> None:
    """A server's key comes of MAGI_SECRET_KEY: with another one no gateway reaches it."""
    others = [
        node.name
        for node in alive_nodes()
        if node.name != settings.MAGI_NODE and node.facts.get("key", key_here()) != key_here()
    ]
    if others:
        msg = (
            f"its MAGI_SECRET_KEY is not that of {', '.join(others[:5])}. Give every machine "
            "the same one."
        )
        raise NodeNotJoinedError(msg)


def _check_name(sleep: Callable[[float], None]) -> None:
    seen: Node | None = None
    for _ in range(int((SILENCE_S + 1) / POLL_S)):
        node = Node.objects.filter(name=settings.MAGI_NODE).first()
        if node is None or not node.is_alive or not is_taken(node):
            return
        if seen is None:
            log.warning("Node %s had a worker at %s just now.", node.name, node.address)
        elif seen.heartbeat_at != node.heartbeat_at:
            raise NodeNotJoinedError(str(NodeTakenError(node.name, node.address)))
        seen = node
        sleep(POLL_S)


class FirstScan:
    """Queues a scan of a node that has none, as a new one or one that was forgotten.

    It only reads. Whether one is due is looked at again and again: a node that is cut off may
    be forgotten while its worker lives.
    """

    def __init__(self) -> None:
        self._beats_left = FIRST_SCAN_AFTER

    def look(self) -> None:
        """Look at some beats whether one is due.

        Raises:
            django.db.Error: the database cannot be asked.
        """
        self._beats_left -= 1
        if self._beats_left > 0:
            return
        node = settings.MAGI_NODE
        if not Scan.objects.filter(node=node).exists():
            try:
                enqueue(rescan, node, node=node, wants_result=False)
            except QueueUnavailableError:
                return  # at the next beat
            log.info("This node was never scanned: it is now.")
        self._beats_left = LOOKED_AGAIN_AFTER


def _named(migrations: "set[tuple[str, str]]") -> str:
    first = ".".join(min(migrations))
    more = len(migrations) - 1
    return f"{first} and {more} more" if more else first
