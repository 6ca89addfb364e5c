"""`manage.py backup FILE`: all that the database knows, in one file, while MAGI runs."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from magi_site.backup.errors import BackupError
from magi_site.backup.saving import save
from magi_site.backup.showing import TableProgress, summary


class Command(BaseCommand):
    help = "Write the database, profiles and registry to FILE; never models. MAGI may run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="Such as magi.tar.gz.")
        parser.add_argument(
            "--with-secret-key",
            action="store_true",
            help="Put the secret key in, too: whoever has the file can then sign as MAGI.",
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        console = Console(highlight=False, soft_wrap=True)
        if path.is_dir():
            msg = f"{path} is a folder; name a file in it, such as {path / 'magi.tar.gz'}."
            raise CommandError(msg)
        try:
            with TableProgress() as progress:
                manifest = save(path, progress, with_secret_key=options["with_secret_key"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        size_bytes = path.stat().st_size
        if options["json"]:
            self.stdout.write(json.dumps(summary(path, manifest, size_bytes), indent=2))
            return
        rows = sum(manifest.rows.values())
        console.print(
            f"{escape(str(path))}: {rows:,} rows of {len(manifest.rows)} tables, "
            f"{size_bytes:,} bytes."
        )
        if manifest.has_secret_key:
            console.print(
                "[yellow]The secret key is in it:[/] whoever has this file can sign sessions "
                "and call llama-servers as MAGI. Keep it as you keep the key."
            )
