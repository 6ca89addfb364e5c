"""Make a backup: all tables of one moment, while MAGI goes on."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error, connection
from django.db.migrations.recorder import MigrationRecorder

from magi_site.backup import archive, tables
from magi_site.backup.archive import Manifest, Writer
from magi_site.backup.errors import BackupError
from magi_site.backup.snapshot import snapshot
from models_app import audit
from models_app.audit_models import Action
from models_app.audit_targets import Target
from profiles_app.files import yaml_of
from profiles_app.models import Profile
from servers_app.registry import registry_as_json

log = logging.getLogger(__name__)

KIND = "backup"  # as the audit calls one


class Progress(Protocol):
    """Who wants to know how far it is: `table` begins, rows are done."""

    def table(self, label: str, rows: int) -> None: ...
    def rows(self, count: int) -> None: ...


def save(path: Path, progress: Progress, *, with_secret_key: bool = False) -> Manifest:
    """Write a backup to `path`, whole or not at all; an older file there is replaced, and
    where a link leads to one, that.

    Args:
        with_secret_key: put the secret key in, from which the keys of llama-servers and the
            signatures of sessions are derived.

    Raises:
        BackupError: the database cannot be read, or the file not be written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # /dev/null would be a file from then on
        msg = f"{path} is no plain file, and is not replaced; name another one."
        raise BackupError(msg)
    made_at = datetime.now(UTC)
    manifest = Manifest(
        magi=settings.MAGI_VERSION,
        made_at=made_at.isoformat(timespec="seconds"),
        node=settings.MAGI_NODE,
        database=_database(),
        migrations=[],
    )
    try:
        with archive.written(path, made_at.timestamp()) as writer, snapshot():
            applied = MigrationRecorder(connection).applied_migrations()
            manifest.migrations = sorted([app, name] for app, name in applied)
            _save_tables(writer, manifest, progress)
            _save_for_people(writer)
            if with_secret_key:
                writer.add(archive.SECRET_KEY, [f"{settings.SECRET_KEY}\n".encode()])
            manifest.members = writer.members
            writer.add(archive.MANIFEST, [archive.manifest_bytes(manifest)])
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}."
        raise BackupError(msg) from error
    except Error as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        msg = f"The database cannot be read: {reason}"
        raise BackupError(msg) from error
    _tell_audit(path, manifest)
    return manifest


def _tell_audit(path: Path, manifest: Manifest) -> None:
    """Say who took one. A database that is full has its backup all the same."""
    after = {
        "rows": sum(manifest.rows.values()),
        "includes": "the secret key" if manifest.has_secret_key else "",
    }
    try:
        audit.record(Action.EXPORT, Target(KIND, manifest.made_at, path.name), after=after)
    except Error as error:
        log.warning("%s is made, and the audit cannot tell of it: %s", path, error)


def _save_tables(writer: Writer, manifest: Manifest, progress: Progress) -> None:
    kept = tables.kept_tables()
    counts = {model._meta.label: model._base_manager.count() for model in kept}
    for model in kept:
        label = model._meta.label
        progress.table(label, counts[label])
        manifest.columns[label] = [field.attname for field in tables.columns_of(model)]
        manifest.rows[label] = 0

        def on_rows(count: int, label: str = label) -> None:
            manifest.rows[label] += count
            progress.rows(count)

        # Closed with its cursor where the disk takes no more, not when the process ends.
        with closing(tables.rows_of(model, on_rows)) as rows:
            writer.add(archive.table_member(label), rows)


def _save_for_people(writer: Writer) -> None:
    for profile in Profile.objects.order_by("slug"):
        # One whose name no file has is in the tables alone, as all are for a restore.
        if archive.is_member(name := f"profiles/{profile.slug}.yaml"):
            writer.add(name, [yaml_of(profile).encode()])
    writer.add(archive.REGISTRY, _registry())


def _registry() -> Iterator[bytes]:
    encoder: Callable[[Any], Iterator[str]] = DjangoJSONEncoder(indent=2).iterencode
    yield from (piece.encode() for piece in encoder(registry_as_json()))
    yield b"\n"


def _database() -> str:
    version = ".".join(str(part) for part in connection.get_database_version())
    return f"{connection.display_name} {version}"
