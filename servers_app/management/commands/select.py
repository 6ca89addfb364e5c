"""`manage.py select TASK`: which model suits a task best, and why."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.markup import escape
from rich.table import Column, Table

from models_app.models import DiscoveredModel
from models_app.task_kinds import TaskKind
from models_app.terminal import make_console
from servers_app.errors import NoSuitableModelError, UnknownTaskKindError
from servers_app.manager.suitability import (
    Suitability,
    candidates,
    enabled_ids,
    none_for,
    require_task,
    suitability,
)


class Command(BaseCommand):
    help = (
        "Show which enabled model suits a task best, and why; `task:NAME` in the gateway is "
        "that model. With --all, every model that is here."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("task", help=f"One of: {', '.join(TaskKind.values)}.")
        parser.add_argument("--all", action="store_true", help="Those not enabled, too.")
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            task = require_task(options["task"])
            ranked = suitability(candidates(only_enabled=not options["all"]), task)
            if not ranked:
                raise none_for(task, only_enabled=not options["all"])
        except (UnknownTaskKindError, NoSuitableModelError) as error:
            raise CommandError(str(error)) from error
        enabled = enabled_ids()
        if options["json"]:
            rows = [_as_json(each, enabled) for each in ranked]
            self.stdout.write(json.dumps({"task": task, "models": rows}, indent=2))
            return
        console = make_console()
        console.print(_table(ranked, enabled))


def _table(ranked: list[Suitability], enabled: set[str]) -> Table:
    table = Table(
        Column("Model", no_wrap=True),
        Column("Score", justify="right"),
        "Enabled",
        Column("Why", overflow="fold", min_width=24),
        box=None,
    )
    for place, each in enumerate(ranked):
        colour = "green" if place == 0 else "default"
        table.add_row(
            f"[{colour}]{escape(each.model.model_id)}[/]",
            f"{each.score:.1f}",
            "yes" if each.model.model_id in enabled else "-",
            escape(" ".join(each.reasons)),
        )
    return table


def _as_json(each: Suitability, enabled: set[str]) -> dict[str, Any]:
    model: DiscoveredModel = each.model
    return {
        "model_id": model.model_id,
        "display_name": model.display_name,
        "score": each.score,
        "enabled": model.model_id in enabled,
        "reasons": list(each.reasons),
    }
