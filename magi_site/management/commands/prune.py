"""`manage.py prune`: let go now of what is old, or show what would go."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.markup import escape
from rich.table import Table

from magi_site.retention import bounds_of_database, bounds_of_node
from models_app.clock import believed_now
from models_app.retention import Pruned, apply
from models_app.terminal import make_console


class Command(BaseCommand):
    help = (
        "Delete what is older than the MAGI_..._DAYS say, as is done once an hour: of the "
        "database, and of this machine's data folder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Only show what would go: nothing does."
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        now = believed_now()
        bounds = (*bounds_of_database(), *bounds_of_node(settings.MAGI_NODE))
        pruned = apply(bounds, now, is_rehearsal=options["dry_run"])
        if options["json"]:
            answer = {"as_of": now.isoformat(), "is_dry_run": options["dry_run"]}
            rows = [asdict(each) for each in pruned]
            self.stdout.write(json.dumps({**answer, "pruned": rows}, indent=2))
        else:
            _show(pruned, is_rehearsal=options["dry_run"])
        failed = [each.name for each in pruned if each.count is None]
        if failed:
            msg = f"Could not be pruned: {', '.join(failed)}. Try again; the rest is done."
            raise CommandError(msg)


def _show(pruned: list[Pruned], *, is_rehearsal: bool) -> None:
    console = make_console()
    table = Table("What", "Kept", box=None)
    table.add_column("Would go" if is_rehearsal else "Went", justify="right")
    table.add_column("s", justify="right")
    for each in pruned:
        count = f"[red]{escape(each.problem)}[/]" if each.count is None else f"{each.count:,}"
        table.add_row(escape(each.name), escape(each.keeps), count, f"{each.seconds:.1f}")
    console.print(table)
