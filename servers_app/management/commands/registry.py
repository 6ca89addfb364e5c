"""`manage.py registry export|import`: the registry as a file, in the guide's shape."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.markup import escape

from models_app.errors import ModelsError
from models_app.overrides import import_overrides, read_registry_file
from servers_app.registry import registry_as_json


class Command(BaseCommand):
    help = (
        "Write the registry as model_registry.json, or take over the overrides of such a file."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        export = commands.add_parser("export", help="Write the registry as JSON.")
        export.add_argument("file", nargs="?", help="Without one: to standard output.")
        take = commands.add_parser("import", help="Take over overrides; nothing is enabled.")
        take.add_argument("file")
        take.add_argument("--json", action="store_true", help="Print the outcome as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["command"] == "export":
            self._export(options["file"])
        else:
            self._import(Path(options["file"]), as_json=options["json"])

    def _export(self, file: str | None) -> None:
        text = json.dumps(registry_as_json(), indent=2, cls=DjangoJSONEncoder)
        if file is None:
            self.stdout.write(text)
            return
        try:
            Path(file).write_text(text + "\n")
        except OSError as error:
            msg = f"{file} cannot be written: {error.strerror}."
            raise CommandError(msg) from error

    def _import(self, path: Path, *, as_json: bool) -> None:
        try:
            imported = import_overrides(read_registry_file(path))
        except ModelsError as error:
            raise CommandError(str(error)) from error
        if as_json:
            self.stdout.write(json.dumps(asdict(imported), indent=2))
            return
        console = Console(highlight=False, soft_wrap=True)
        for model_id in imported.changed:
            console.print(f"[green]✓[/] {model_id}: overrides taken over")
        for model_id in imported.not_here:
            console.print(f"[yellow]![/] Model not found: {escape(model_id)}")
        console.print(
            f"{len(imported.changed)} changed, {len(imported.unchanged)} as they were, "
            f"{len(imported.not_here)} not here. Nothing was enabled."
        )
