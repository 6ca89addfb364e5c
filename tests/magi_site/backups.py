"""A row in every table, what tables have in them, and archives that are not as they should."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.db import connection
from django.db.models import Field, ForeignKey, JSONField, Model

from magi_site.backup import tables
from magi_site.backup.archive import MANIFEST, Manifest, manifest_bytes, table_member
from magi_site.backup.restoring import Restored, require_restorable, restore
from magi_site.backup.saving import save

MOMENT = datetime(2026, 11, 22, 3, 4, 5, 678901, tzinfo=UTC)  # no microsecond may be lost
ODD = 'é \N{GRINNING FACE} \\ " \t\n \u2028 %s {x}'
VALUES: dict[str, Callable[[Field[Any, Any]], Any]] = {
    "CharField": lambda field: f"{field.name[:4]} {ODD}"[: field.max_length or 20],
    "EmailField": lambda _field: "somebody@example.org",
    "SlugField": lambda field: field.name[: field.max_length or 20],
    "TextField": lambda field: f"{field.name} {ODD}",
    "JSONField": lambda field: {field.name: [1, 2.5, None, True, ODD, {"b": []}], "": 10**15},
    # A key must not expire before it is made.
    "DateTimeField": lambda field: MOMENT + timedelta(days="expires" in field.name),
    "DateField": lambda _field: date(2026, 11, 22),
    "BooleanField": lambda _field: True,
    "FloatField": lambda _field: 0.1 + 0.2,
    "BigIntegerField": lambda _field: 2**40,
    "PositiveBigIntegerField": lambda _field: 2**40,
    "IntegerField": lambda _field: -9,
    "PositiveIntegerField": lambda _field: 8080,
    "PositiveSmallIntegerField": lambda _field: 3,
    "GenericIPAddressField": lambda _field: "2001:db8::1",
}


class Silent:
    """Nobody who wants to know how far it is."""

    def table(self, label: str, rows: int) -> None:
        pass

    def rows(self, count: int) -> None:
        pass


def fill_every_table() -> None:
    """Have at least one row in each table, in which every column has a value."""
    for model in [*tables.kept_tables(), *tables.emptied_tables()]:
        _any_row(model)
    tables.reset_sequences()


def _any_row(model: type[Model]) -> Model:
    if (row := model._base_manager.order_by("-pk").first()) is not None:
        return row
    row = model()
    for column in model._meta.local_concrete_fields:
        setattr(row, column.attname, _value(column))
    row.save_base(raw=True, force_insert=True)  # as it stands: no time of now
    return row


def _value(column: Field[Any, Any]) -> Any:
    if isinstance(column, ForeignKey):
        related: Any = column.related_model
        return None if related is column.model else _any_row(related).pk
    if column.primary_key and column.get_internal_type() != "CharField":
        return 1  # some tables have but one row, which is the first
    if column.choices:
        return next(iter(column.flatchoices))[0]
    return VALUES[column.get_internal_type()](column)


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table that a backup has, by APP.MODEL."""
    return {
        model._meta.label: [
            tuple(
                json.dumps(value, sort_keys=True) if is_json else value
                for value, is_json in row
            )
            for row in _rows(model)
        ]
        for model in tables.kept_tables()
    }


def _rows(model: type[Model]) -> list[list[tuple[Any, bool]]]:
    columns = tables.columns_of(model)
    kinds = [isinstance(column, JSONField) for column in columns]
    names = [column.attname for column in columns]
    rows = model._base_manager.order_by("pk").values_list(*names)
    return [list(zip(row, kinds, strict=True)) for row in rows]


def backup(path: Path, *, with_secret_key: bool = False) -> Manifest:
    return save(path, Silent(), with_secret_key=with_secret_key)


def restore_all(
    path: Path, *, replace: bool = True, stopped: bool = False, with_secret_key: bool = False
) -> Restored:
    return restore(
        path,
        require_restorable(path),
        Silent(),
        replace=replace,
        stopped=stopped,
        with_secret_key=with_secret_key,
    )


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {
            member.name: file.read()
            for member in tar
            if (file := tar.extractfile(member)) is not None
        }


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> None:
    """Write an archive anew after `change(manifest, members)`, with hashes that are right."""
    members = members_of(path)
    manifest: dict[str, Any] = json.loads(members.pop(MANIFEST))
    change(manifest, members)
    manifest["members"] = {
        name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    pack(path, [*members.items(), (MANIFEST, json.dumps(manifest).encode())])


def pack(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> None:
    """Write an archive of these members, whatever they are called and are."""
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def lines_of(members: dict[str, bytes], label: str) -> list[list[Any]]:
    return [json.loads(line) for line in members[table_member(label)].splitlines()]


def put_lines(members: dict[str, bytes], label: str, rows: list[list[Any]]) -> None:
    members[table_member(label)] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def empty_manifest() -> bytes:
    return manifest_bytes(Manifest("0.1.0", "2026-11-22T03:04:05+00:00", "local", "", []))


def database_url() -> str:
    """Return where another process finds the database of this test."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
