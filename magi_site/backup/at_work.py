"""Whether MAGI runs over a database, and how everybody is kept from writing to it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, connection
from django.db.models import Model
from django.db.models.functions import Now

from magi_site.backup.errors import AtWorkError
from servers_app.models import Node

LOCK_TIMEOUT_MS: Final = 10_000
HEARD_LATELY: Final = timedelta(minutes=1)
LISTEN_S: Final = 12.0  # a worker says every five seconds that it is there
POLL_S: Final = 0.25


def require_at_rest(
    on_wait: Callable[[], None], *, listen_s: float = LISTEN_S, poll_s: float = POLL_S
) -> None:
    """Make sure that no worker is at work over this database.

    A worker writes what its servers are, by their numbers: after a restore, into rows of
    other servers. Whether one lives is told by its heartbeat, whose time moves; no clock of
    two machines is compared. It is listened for only where one was heard lately.

    Args:
        on_wait: called once, before it takes its time.

    Raises:
        AtWorkError: a worker is.
    """
    before = _heartbeats()
    if not before:
        return
    on_wait()
    deadline = time.monotonic() + listen_s
    while time.monotonic() < deadline:
        time.sleep(poll_s)
        for name, at in _heartbeats().items():
            if at != before.get(name):
                msg = (
                    f"The worker of node {name} is at work over this database. Stop MAGI on "
                    "every node, and restore then."
                )
                raise AtWorkError(msg)


def _heartbeats() -> dict[str, datetime | None]:
    lately = Node.objects.filter(heartbeat_at__gt=Now() - HEARD_LATELY)
    return dict(lately.values_list("name", "heartbeat_at"))


@contextmanager
def held_still(models: Sequence[type[Model]]) -> Iterator[None]:
    """Keep everybody else from writing until the transaction ends; reading goes on.

    SQLite's transactions of ours are such from their beginning.

    Raises:
        AtWorkError: somebody writes, and does not come to an end.
    """
    if connection.vendor == "postgresql":
        quoted = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in models)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true)", [str(LOCK_TIMEOUT_MS)]
                )
                cursor.execute(f"LOCK TABLE {quoted} IN EXCLUSIVE MODE")
        except DatabaseError as error:
            msg = (
                "Somebody writes to the database and does not end. Stop MAGI on every node, "
                "and restore then."
            )
            raise AtWorkError(msg) from error
    yield
