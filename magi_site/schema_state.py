"""Whether the database and this MAGI are of one version, and one setup at a time."""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from magi_site.datadir import make_private_dir

log = logging.getLogger(__name__)

SETUP_LOCK: Final = 0x4D414749  # "MAGI", among a database's advisory locks
PATIENCE_S: Final = 600.0
POLL_S: Final = 0.2


def ahead() -> list[str]:
    """Return the migrations, as APP.NAME, that the database has and this MAGI has not."""
    applied = MigrationRecorder(connection).applied_migrations()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    here = loader.migrated_apps
    return sorted(
        f"{app}.{name}"
        for app, name in applied.keys() - loader.disk_migrations.keys()
        if app in here
    )


def behind() -> list[str]:
    """Return the migrations, as APP.NAME, that this MAGI has and the database has not."""
    applied = MigrationRecorder(connection).applied_migrations()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return sorted(
        f"{app}.{name}" for app, name in loader.disk_migrations.keys() - applied.keys()
    )


def difference() -> str:
    """Return a sentence if the database is of another version than this MAGI, else nothing."""
    if newer := ahead():
        return (
            f"The database is of a newer MAGI ({newer[0]}{_and_more(newer)}) than this one "
            f"({settings.MAGI_VERSION}): it serves with what it knows. Start the newer one "
            "when you can."
        )
    if older := behind():
        return (
            f"The database lacks {older[0]}{_and_more(older)}: run `manage.py setup` of MAGI "
            f"{settings.MAGI_VERSION} once, before its processes are started."
        )
    return ""


def say_difference(**_signal: Any) -> None:
    """Have the log say at a start that the database is of another version, if it is.

    In a thread of its own: a database that is away holds nobody up.
    """
    threading.Thread(target=_say, name="schema", daemon=True).start()


def _say() -> None:
    try:
        if sentence := difference():
            log.warning(sentence)
    except Error:
        log.debug("whether the database is of this version is not known", exc_info=True)
    finally:
        connection.close()


@contextmanager
def one_setup(on_wait: Callable[[], None], *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Be the only one who migrates this database; another one waits.

    Args:
        on_wait: called once, if another is at it.

    Raises:
        ImproperlyConfigured: the other takes longer than `patience_s`.
    """
    is_shared = connection.vendor == "postgresql"
    with _advisory_lock() if is_shared else _file_lock() as is_held:
        deadline = time.monotonic() + patience_s
        if not is_held():
            on_wait()
            while not is_held():
                if time.monotonic() > deadline:
                    msg = (
                        f"Another `manage.py setup` has been at work for {patience_s:.0f} s. "
                        "See what it waits for, or end it."
                    )
                    raise ImproperlyConfigured(msg)
                time.sleep(POLL_S)
        yield


@contextmanager
def _advisory_lock() -> Iterator[Callable[[], bool]]:
    # A connection of its own: whoever migrates may close that of the thread. The lock goes
    # with it, also when its process is killed.
    own = connections.create_connection(DEFAULT_DB_ALIAS)

    def is_held() -> bool:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [SETUP_LOCK])
            return bool(cursor.fetchone()[0])

    try:
        yield is_held
    finally:
        # It may go back to a pool, which keeps it open: so the lock is let go of by name. Where
        # there is no connection (any more), there is no lock, and nothing is waited for again.
        if own.connection is not None:
            with suppress(Error), own.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")
        own.close()


@contextmanager
def _file_lock() -> Iterator[Callable[[], bool]]:
    folder = Path(settings.MAGI_DATA_DIR)
    make_private_dir(folder)
    with (folder / "setup.lock").open("w") as file:

        def is_held() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        yield is_held


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
