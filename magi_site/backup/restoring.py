"""Restore a backup: all of it in one transaction, or nothing."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, connection, transaction
from django.db.migrations.loader import MigrationLoader

from magi_site.backup import archive, tables
from magi_site.backup.archive import Manifest
from magi_site.backup.at_work import held_still
from magi_site.backup.errors import ArchiveError, BackupError, NotEmptyError, VersionError
from magi_site.backup.saving import KIND, Progress
from magi_site.backup.states import Left, nothing_runs, stop_all
from magi_site.groups import ensure_groups
from magi_site.migration_rules import losses
from models_app import audit
from models_app.audit_models import Action
from models_app.audit_targets import Target


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to."""

    manifest: Manifest
    rows: int
    left: Left
    has_taken_key: bool = False
    notes: list[str] = field(default_factory=list)


def require_restorable(path: Path) -> Manifest:
    """Read a whole archive, and hold it against this MAGI; change nothing.

    Raises:
        ArchiveError: it is damaged, hostile, or no archive of ours.
        VersionError: it was made by a newer MAGI, or by one that is too old.
    """
    manifest = archive.check(path)
    loader = MigrationLoader(None, ignore_no_migrations=True)
    known = loader.disk_migrations
    made_with = {(app, name) for app, name in manifest.migrations}
    if newer := sorted(made_with - known.keys()):
        msg = (
            f"The archive was made by MAGI {manifest.magi}, whose database is newer than this "
            f"MAGI ({settings.MAGI_VERSION}) knows: {'.'.join(newer[0])} and what comes after. "
            "Restore it with that MAGI, or with a newer one."
        )
        raise VersionError(msg)
    if lost := losses(loader, sorted(known.keys() - made_with)):
        msg = (
            f"The archive is of MAGI {manifest.magi}, and since then {lost[0]}. Restore it "
            "with that MAGI into an empty database, and upgrade that."
        )
        raise VersionError(msg)
    labels = {model._meta.label for model in tables.kept_tables()}
    if unknown := sorted(manifest.columns.keys() - labels):
        msg = f"The archive has a table {unknown[0]}, which this MAGI has not."
        raise VersionError(msg)
    return manifest


def require_empty() -> None:
    """Raises: NotEmptyError: the database has rows that no migration made."""
    if full := tables.tables_with_rows():
        msg = (
            f"The database is not empty: {', '.join(full[:3])}"
            f"{f' and {len(full) - 3} more tables' if len(full) > 3 else ''} have rows. "
            "--replace puts the backup in their place; what is there now is lost then."
        )
        raise NotEmptyError(msg)


def restore(
    path: Path,
    manifest: Manifest,
    progress: Progress,
    *,
    replace: bool = False,
    stopped: bool = False,
    with_secret_key: bool = False,
) -> Restored:
    """Put what `path` has in the place of all that the database has.

    Nobody reads half of it, and a process that is killed in the middle leaves the database
    as it was. What ran when the backup was made is not said to run: a worker finds that out.

    Args:
        manifest: what `require_restorable` returned for `path`.
        replace: the rows that are there may go.
        stopped: have nothing start by itself.
        with_secret_key: take over the secret key, which a later start reads.

    Raises:
        BackupError: nothing has changed; the message says why.
    """
    notes: list[str] = []
    new_key: Path | None = None
    try:
        with transaction.atomic(), held_still(tables.emptied_tables()):
            if not replace:
                require_empty()
            tables.empty_all()
            rows = _load(path, manifest, progress)
            if with_secret_key:
                new_key = _new_key(path, manifest, notes)
            tables.reset_sequences()
            left = nothing_runs(manifest.made_at)
            if stopped:
                left = stop_all(left)
            _bring_up_to_date()
            connection.check_constraints()
            audit.record(
                Action.RESTORE,
                Target(KIND, manifest.made_at, path.name),
                after={"rows": rows, "from": manifest.node, "stopped": stopped},
            )
    except BaseException as error:
        if new_key is not None:
            new_key.unlink(missing_ok=True)
        ContentType.objects.clear_cache()
        if isinstance(error, IntegrityError):
            reason = str(error).strip().splitlines()[0]
            msg = f"{path.name} is not whole, nothing has changed: {reason}"
            raise ArchiveError(msg) from error
        if isinstance(error, Error):
            reason = str(error).strip().splitlines()[0]
            msg = f"The database does not take it, nothing has changed: {reason}"
            raise BackupError(msg) from error
        raise
    if new_key is not None:
        new_key.replace(_key_file())
    return Restored(manifest, rows, left, new_key is not None, notes)


def _load(path: Path, manifest: Manifest, progress: Progress) -> int:
    by_member = {
        archive.table_member(model._meta.label): model for model in tables.kept_tables()
    }
    total = 0
    for name, file in archive.members(path):
        model = by_member.get(name)
        if model is None:
            continue
        label = model._meta.label
        if label not in manifest.columns or name not in manifest.members:
            msg = f"{path.name} has changed since it was checked."
            raise ArchiveError(msg)
        progress.table(label, manifest.rows[label])
        lines = archive.lines(path, name, file, manifest.members[name])
        count = tables.Loader(model, manifest.columns[label]).load(lines, progress.rows)
        if count != manifest.rows[label]:
            msg = f"{path.name}: {label} has {count:,} rows, not as it says."
            raise ArchiveError(msg)
        total += count
        del by_member[name]
    missing = [model._meta.label for model in by_member.values()]
    if lost := [label for label in missing if label in manifest.columns]:
        msg = f"{path.name} has changed since it was checked: no {lost[0]}."
        raise ArchiveError(msg)
    return total


def _bring_up_to_date() -> None:
    """Add what this MAGI has beside those rows: permissions of new tables, groups' rights."""
    ContentType.objects.clear_cache()
    emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)
    ensure_groups()


def _key_file() -> Path:
    return Path(settings.MAGI_DATA_DIR) / "secret_key"


def _new_key(path: Path, manifest: Manifest, notes: list[str]) -> Path | None:
    """Write the archive's key beside ours, to take its place after the commit."""
    if not manifest.has_secret_key:
        msg = f"{path.name} has no secret key: it was made without --with-secret-key."
        raise ArchiveError(msg)
    expected = manifest.members[archive.SECRET_KEY]
    text = b"".join(
        line
        for name, file in archive.members(path)
        if name == archive.SECRET_KEY
        for line in archive.lines(path, name, file, expected)
    )
    if os.environ.get("MAGI_SECRET_KEY"):
        notes.append(
            "MAGI_SECRET_KEY is set, and counts: the key of the archive was written to "
            "secret_key in the data folder all the same."
        )
    with tempfile.NamedTemporaryFile(
        dir=_key_file().parent, prefix=".secret_key.", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise
    return Path(file.name)
