"""`manage.py restore FILE`: put a backup in the place of what the database has."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from magi_site.backup.archive import Manifest
from magi_site.backup.at_work import require_at_rest
from magi_site.backup.errors import BackupError
from magi_site.backup.restoring import Restored, require_empty, require_restorable, restore
from magi_site.backup.showing import TableProgress, counted, summary
from magi_site.datadir import make_private_dir
from magi_site.schema_state import ahead, one_setup

WORD = "replace"


class Command(BaseCommand):
    help = "Read a backup into an empty database, or with --replace in the place of another's."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--check", action="store_true", help="Only read it, and say.")
        parser.add_argument(
            "--replace", action="store_true", help="What the database has now may go."
        )
        parser.add_argument("--no-input", action="store_true", help="Do not ask, for scripts.")
        parser.add_argument(
            "--stopped", action="store_true", help="Nothing starts with the worker afterwards."
        )
        parser.add_argument(
            "--with-secret-key", action="store_true", help="Take over its secret key, too."
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.as_json: bool = options["json"]
        try:
            self._run(options["file"], options)
        except BackupError as error:
            raise CommandError(str(error)) from error

    def _run(self, path: Path, options: dict[str, Any]) -> None:
        with self.console.status(f"reading {path.name}"):
            manifest = require_restorable(path)
        if options["check"]:
            self._say_checked(path, manifest)
            return
        make_private_dir(Path(settings.MAGI_DATA_DIR))
        with one_setup(lambda: self._say("Another setup is at work; waiting for it.")):
            if newer := ahead():
                msg = (
                    f"The database is of a newer MAGI ({newer[0]}): restore with that one, or "
                    "into another database."
                )
                raise CommandError(msg)
            call_command("migrate", verbosity=0, interactive=False)
            if not options["replace"]:
                require_empty()
            elif not options["no_input"]:
                self._ask(manifest)
            require_at_rest(lambda: self._say("Listening for workers (12 s)."))
            with TableProgress() as progress:
                restored = restore(
                    path,
                    manifest,
                    progress,
                    replace=options["replace"],
                    stopped=options["stopped"],
                    with_secret_key=options["with_secret_key"],
                )
        self._say_restored(path, restored)

    def _ask(self, manifest: Manifest) -> None:
        question = (
            f"All that this database has is replaced by the backup of {manifest.made_at}, node "
            f"{manifest.node}. Type {WORD} to go on: "
        )
        if not sys.stdin.isatty():
            msg = f"Nobody is there to type {WORD}: --no-input says that it is meant."
            raise CommandError(msg)
        try:
            answer = self.console.input(escape(question)).strip()
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer != WORD:
            msg = "Nothing was changed."
            raise CommandError(msg)

    def _say_checked(self, path: Path, manifest: Manifest) -> None:
        if self.as_json:
            answer = summary(path, manifest, path.stat().st_size)
            self.stdout.write(json.dumps(answer, indent=2))
            return
        self._say(
            f"{path} is whole: {sum(manifest.rows.values()):,} rows of {len(manifest.rows)} "
            f"tables, made {manifest.made_at} on {manifest.node} by MAGI {manifest.magi} over "
            f"{manifest.database}. This MAGI can restore it."
        )

    def _say_restored(self, path: Path, restored: Restored) -> None:
        left = restored.left
        if self.as_json:
            answer = summary(path, restored.manifest, path.stat().st_size) | {
                "restored_rows": restored.rows,
                "servers_wanted": left.servers,
                "downloads_under_way": left.downloads,
                "measurements_under_way": left.measurements,
                "has_taken_secret_key": restored.has_taken_key,
                "notes": restored.notes,
            }
            self.stdout.write(json.dumps(answer, indent=2))
            return
        self._say(
            f"Restored {restored.rows:,} rows of the backup of {restored.manifest.made_at}."
        )
        if left.servers:
            self._say(
                f"{counted(left.servers, 'server')} wanted running, and will be started by "
                "the workers of their nodes. (--stopped restores none so.)"
            )
        if left.downloads or left.measurements:
            self._say(
                f"{counted(left.downloads, 'download')} and "
                f"{counted(left.measurements, 'measurement')} under way, and will go on then."
            )
        if restored.has_taken_key:
            self._say("The secret key was taken over; processes that are started now use it.")
        elif restored.manifest.has_secret_key:
            self._say("The archive has a secret key, which was left where it is.")
        for note in restored.notes:
            self._say(note)
        self._say(
            "`manage.py rescan` says which models have files here. Everybody signs in anew."
        )

    def _say(self, sentence: str) -> None:
        if not self.as_json:
            self.console.print(escape(sentence))
