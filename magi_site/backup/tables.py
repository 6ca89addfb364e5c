"""Which tables a backup has, and their rows as lines of JSON and back.

All models of all apps, so that a table that is added cannot be forgotten; what is left out is
named here, with the reason.
"""

import json
from collections.abc import Callable, Generator, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection
from django.db.models import Field, Model
from django.utils.duration import duration_string

from magi_site.backup.errors import ArchiveError, VersionError
from models_app.nesting import is_deeper

LEFT_OUT: Final = {
    "sessions.Session": "who signed out must not be signed in again: everybody signs in anew",
    "models_app.ScanMemory": "the next scan finds it out again, on whichever machine it runs",
}
# These are in a database that was only just migrated, too.
MADE_BY_MIGRATE: Final = frozenset({"contenttypes.ContentType", "auth.Permission"})

CHUNK: Final = 2000  # rows
NUL_STAND_IN: Final = "\N{REPLACEMENT CHARACTER}"  # PostgreSQL's texts have no NUL


def kept_tables() -> list[type[Model]]:
    """Return the models whose rows a backup has; tables between two others among them."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and model._meta.label not in LEFT_OUT
    ]


def emptied_tables() -> list[type[Model]]:
    """Return all models whose rows a restore replaces: those that no backup has, too."""
    return [*kept_tables(), *(apps.get_model(label) for label in LEFT_OUT)]


def columns_of(model: type[Model]) -> list[Field[Any, Any]]:
    """Return the fields of a model that are columns of its table."""
    return [field for field in model._meta.local_concrete_fields if not field.generated]


def rows_of(model: type[Model], on_rows: Callable[[int], None]) -> Generator[bytes]:
    """Yield each row of a table as a line of JSON, in the order of the primary key."""
    names = [field.attname for field in columns_of(model)]
    rows = model._base_manager.order_by("pk").values_list(*names)
    encode = json.JSONEncoder(
        ensure_ascii=False, separators=(",", ":"), default=_plain, check_circular=False
    ).encode
    waiting = 0
    for row in rows.iterator(chunk_size=CHUNK):
        # A lone surrogate is in no UTF-8: escaped, it comes back as it was.
        text = encode(row)
        try:
            line = text.encode()
        except UnicodeEncodeError:
            line = json.dumps(row, separators=(",", ":"), default=_plain).encode()
        yield line + b"\n"
        waiting += 1
        if waiting == CHUNK:
            on_rows(waiting)
            waiting = 0
    on_rows(waiting)


class Loader:
    """Writes the rows of one table as they were, with their primary keys.

    Raises:
        VersionError: the archive has a column that this MAGI does not know.
    """

    def __init__(self, model: type[Model], columns: list[str]) -> None:
        self._label = model._meta.label
        fields = {field.attname: field for field in columns_of(model)}
        if unknown := [name for name in columns if name not in fields]:
            msg = (
                f"The archive has a column {unknown[0]} of {self._label}, which this MAGI does "
                "not know. Restore it with the MAGI that made it."
            )
            raise VersionError(msg)
        self._fields = [fields[name] for name in columns]
        # What an older MAGI did not have gets what a migration would have given it.
        self._added = [
            field
            for name, field in fields.items()
            if name not in columns and not field.has_db_default() and not field.null
        ]
        written = [*self._fields, *self._added]
        self._quoted = [connection.ops.quote_name(field.column or "") for field in written]
        self._table = connection.ops.quote_name(model._meta.db_table)
        self._is_postgresql = connection.vendor == "postgresql"

    def load(self, lines: Iterable[bytes], on_rows: Callable[[int], None]) -> int:
        """Write a row for each line; return how many there were.

        Raises:
            ArchiveError: a line is no row of this table, or the database refuses it.
        """
        count, chunk = 0, []
        for line in lines:
            chunk.append(self._values(line, count + 1))
            count += 1
            if len(chunk) == CHUNK:
                self._write(chunk)
                on_rows(len(chunk))
                chunk = []
        self._write(chunk)
        on_rows(len(chunk))
        return count

    def _values(self, line: bytes, number: int) -> tuple[Any, ...]:
        try:
            row = json.loads(line)
            # No number of values but this one: zip() is strict.
            if is_deeper(row):
                row = None
            values = [
                self._for_database(field, field.to_python(value))
                for field, value in zip(self._fields, row, strict=True)
            ]
        except (ValueError, TypeError, ValidationError, RecursionError, OverflowError) as error:
            msg = f"Row {number} of {self._label} is no row of it."
            raise ArchiveError(msg) from error
        values += [self._for_database(field, field.get_default()) for field in self._added]
        return tuple(values)

    def _for_database(self, field: Field[Any, Any], value: Any) -> Any:
        if self._is_postgresql:
            value = _without_nul(value)
        return field.get_db_prep_save(value, connection)

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        columns = ", ".join(self._quoted)
        try:
            with connection.cursor() as cursor:
                if self._is_postgresql:
                    with cursor.copy(f"COPY {self._table} ({columns}) FROM STDIN") as copy:
                        for row in rows:
                            copy.write_row(row)
                else:
                    places = ", ".join(["%s"] * len(self._quoted))
                    # Names of our own models, quoted; the values go beside it.
                    cursor.executemany(
                        f"INSERT INTO {self._table} ({columns}) VALUES ({places})",  # noqa: S608  # nosec B608
                        rows,
                    )
        except (DatabaseError, ValueError, OverflowError) as error:
            reason = str(error).strip().splitlines()[0]
            msg = f"{self._label} cannot be restored: {reason}"
            raise ArchiveError(msg) from error


def reset_sequences() -> None:
    """Have new rows get numbers above those that were written. (SQLite does so by itself.)"""
    from django.core.management.color import no_style  # noqa: PLC0415 - a command's business

    statements = connection.ops.sequence_reset_sql(no_style(), kept_tables())
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def empty_all() -> None:
    """Delete every row of every table, in the transaction. Foreign keys are held at its end."""
    with connection.cursor() as cursor:
        for model in emptied_tables():
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608  # nosec B608 - of our models


def tables_with_rows() -> list[str]:
    """Return the tables that have rows which no migration made."""
    return [
        model._meta.label
        for model in emptied_tables()
        if model._meta.label not in MADE_BY_MIGRATE
        and model._base_manager.using(DEFAULT_DB_ALIAS).exists()
    ]


def _plain(value: object) -> str:
    """Return what JSON has no word for as a text that the field's `to_python` reads."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_string(value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    msg = f"A backup has no way to write {type(value).__name__}."
    raise TypeError(msg)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", NUL_STAND_IN) if "\0" in value else value
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value
