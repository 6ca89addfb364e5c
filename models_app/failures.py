"""What the machine around MAGI fails in, in sentences: a full disk, a database that is away."""

import errno
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from django.conf import settings
from django.db import OperationalError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
POSTGRESQL_DISK_FULL: Final = "53100"
POSTGRESQL_LACKS: Final = frozenset({"42P01", "42703"})  # no such table, no such column
SQLITE_LACKS: Final = ("no such table", "no such column")
AWAY: Final = (
    "The database does not answer, so this was not done. Try again; GET "
    "/api/admin/health/detailed says what is wrong."
)


@dataclass(frozen=True, slots=True)
class Failure:
    status: int  # of HTTP
    code: str  # a word for programs
    title: str
    detail: str  # what is wrong, and what to do


DATABASE_AWAY: Final = Failure(503, "database_away", "The database does not answer", AWAY)
# Of what was begun: the database may go on with it when it goes on.
DATABASE_HANGS: Final = replace(
    DATABASE_AWAY,
    detail="The database does not answer. What you asked for may be done yet: look before you "
    "try again. GET /api/admin/health/detailed says what is wrong.",
)


def failure_of(error: BaseException | None) -> Failure | None:
    """Return what an error comes to, by itself or by what it was raised from; None if it is
    none of the machine's.
    """
    is_database = False
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in FULL:
            return disk_full("")
        if _is_full_database(each):
            return disk_full("The database could not be written to. ")
        is_database = is_database or isinstance(each, OperationalError)
    return DATABASE_AWAY if is_database else None


def disk_full(what: str) -> Failure:
    """Return the failure of a disk that takes no more; `what` is a sentence, with a space."""
    return Failure(
        507,
        "disk_full",
        "No space left",
        f"No space left on a disk that MAGI writes to. {what}Nothing of this was done, and "
        "nothing is lost: free some space (`df -h` says where), and try again. The data "
        "folder is MAGI_DATA_DIR; `manage.py prune` lets go of what is old.",
    )


def sentence_of(error: BaseException) -> str | None:
    """Return a line for a terminal, which may know where things lie; None as failure_of."""
    failure = failure_of(error)
    reason = str(error).strip().splitlines()
    why = f" ({reason[0]})" if reason else ""
    if any(map(_lacks_schema, _chain(error))):
        return f"The database lacks what this MAGI needs{why}. Run `manage.py setup`."
    if failure is None:
        return None
    if failure is DATABASE_AWAY:
        return f"The database cannot be reached{why}. Start it, or check DATABASE_URL."
    return f"{failure.detail} Here it is {settings.MAGI_DATA_DIR}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full_database(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == POSTGRESQL_DISK_FULL


def _lacks_schema(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return str(error).startswith(SQLITE_LACKS)
    return getattr(error, "sqlstate", None) in POSTGRESQL_LACKS
