"""`manage.py rescan`: look for models, here and now or on the node's worker."""

import json
from argparse import ArgumentParser
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from models_app import registry, rescans
from models_app.errors import ModelsError
from models_app.listing import scan_with_progress, show_report
from models_app.queue import is_done_within

QUEUE_TIMEOUT_S = 600


class Command(BaseCommand):
    help = "Look for GGUF models in every scan root. Reads only; enables nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
        parser.add_argument(
            "--queue", action="store_true", help="Have the node's worker scan, and wait for it."
        )
        parser.add_argument(
            "--node", default="", help="Whose disks; of another machine, its worker scans."
        )
        parser.add_argument(
            "--prune",
            action="store_true",
            help="Remove the rows of models that have gone, with their overrides and notes.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=options["json"], highlight=False)
        node, prune = options["node"] or settings.MAGI_NODE, options["prune"]
        try:
            if options["queue"] or node != settings.MAGI_NODE:
                report = self._queued(console, node, prune=prune)
            else:
                report = self._here(console, node, prune=prune, as_json=options["json"])
        except ModelsError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            show_report(console, report)

    def _here(
        self, console: Console, node: str, *, prune: bool, as_json: bool
    ) -> dict[str, Any]:
        rescans.write_down(node, prune=prune)
        if as_json:
            return registry.rescan(node, prune=prune).as_json()
        return scan_with_progress(console, node, prune=prune).as_json()

    def _queued(self, console: Console, node: str, *, prune: bool) -> dict[str, Any]:
        result = rescans.request_rescan(node, prune=prune)
        with console.status(f"The worker of node {node} is scanning"):
            done = is_done_within(result, QUEUE_TIMEOUT_S)
        if not done or result.failed():
            msg = f"The worker of node {node} did not finish the scan; see its log."
            raise CommandError(msg)
        return cast("dict[str, Any]", result.result)
