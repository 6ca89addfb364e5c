"""One moment of the database, read while others write."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from magi_site.backup.errors import BackupError


@contextmanager
def snapshot() -> Iterator[None]:
    """Have every query inside see the database as it was at the first of them.

    Nobody who writes waits for it, and it waits for nobody: PostgreSQL keeps old rows, SQLite
    its write-ahead log, until it ends.

    Raises:
        BackupError: a transaction is under way, which has a moment of its own.
    """
    if connection.in_atomic_block:
        msg = "A backup cannot be made inside of a transaction."
        raise BackupError(msg)
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    with connection.cursor() as cursor:
        # Not atomic(): that begins as one who writes, and nobody else could meanwhile.
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
