"""`manage.py rescan`: look for models, here and now or on the node's worker."""

import json
from argparse import ArgumentParser
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from models_app import registry, tasks
from models_app.errors import ModelsError
from models_app.listing import scan_with_progress, show_report
from models_app.queue import enqueue, is_done_within, require_worker

QUEUE_TIMEOUT_S = 600


class Command(BaseCommand):
    help = "Look for GGUF models in every scan root. Reads only; enables nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
        parser.add_argument(
            "--queue", action="store_true", help="Have the node's worker scan, and wait for it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=options["json"], highlight=False)
        try:
            if options["queue"]:
                report = self._queued(console)
            elif options["json"]:
                report = registry.rescan(settings.MAGI_NODE).as_json()
            else:
                report = scan_with_progress(console, settings.MAGI_NODE).as_json()
        except ModelsError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            show_report(console, report)

    def _queued(self, console: Console) -> dict[str, Any]:
        node = settings.MAGI_NODE
        require_worker(node)
        result = enqueue(tasks.rescan, node, node=node)
        with console.status(f"The worker of node {node} is scanning"):
            done = is_done_within(result, QUEUE_TIMEOUT_S)
        if not done or result.failed():
            msg = f"The worker of node {node} did not finish the scan; see its log."
            raise CommandError(msg)
        return cast("dict[str, Any]", result.result)
