"""`manage.py copy`: have a model on one more node, fetched by that node's worker."""

import json
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from models_app.download_models import Download, DownloadState
from models_app.downloads import service, worker
from models_app.downloads.bar import DownloadBar
from models_app.downloads.figures import as_json, size_text
from models_app.errors import AlreadyThereError, ModelsError
from models_app.lookup import get_model
from models_app.management.commands.pull import bytes_per_s
from models_app.terminal import INTERRUPTED
from servers_app.copying import ask_copy

LOOK_S: Final = 0.5
THERE: Final = "there"  # beside the states of a download, of which there is none


class Command(BaseCommand):
    help = (
        "Copy a model to another node: all its files, each compared by its sha256. Nothing is "
        "started by that. Stopped, it goes on when asked for again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model_id", help="`manage.py models list` shows them.")
        parser.add_argument("--to", required=True, metavar="NODE", help="Is to have it.")
        parser.add_argument(
            "--from",
            default="",
            dest="from_node",
            metavar="NODE",
            help="Gives it; without it, the first that has it and answers.",
        )
        parser.add_argument(
            "--limit", type=bytes_per_s, metavar="RATE", help="Bytes a second: 500k, 5M."
        )
        parser.add_argument("--no-wait", action="store_true", help="Ask for it, and end.")
        parser.add_argument(
            "--json", action="store_true", help="Print what became of it as JSON."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=options["json"], highlight=False, soft_wrap=True)
        try:
            row = ask_copy(
                get_model(options["model_id"]),
                node=options["to"],
                from_node=options["from_node"],
                limit_bytes_per_s=options["limit"],
            )
        except AlreadyThereError as error:  # what was asked for is the case
            console.print(escape(str(error)))
            if options["json"]:
                self.stdout.write(json.dumps({"state": THERE, "message": str(error)}))
            return
        except ModelsError as error:
            raise CommandError(str(error)) from error
        if not options["no_wait"]:
            row = _followed(console, row)
        if options["json"]:
            self.stdout.write(json.dumps(as_json(row), indent=2))
        _tell(console, row, is_silent=options["json"])


def _followed(console: Console, row: Download) -> Download:
    """Watch what the workers do; what one of them waits for is said once."""
    names = f"{escape(row.from_node)} to {escape(row.node)}"
    console.print(f"Copying {escape(row.reference)} from {names}.")
    try:
        with DownloadBar(console, row) as bar:
            while row.is_under_way:
                row = service.wait_for(
                    row.pk, seconds=LOOK_S, until=lambda now: not now.is_under_way
                )
                is_waiting = row.state == DownloadState.QUEUED
                bar.show(worker.Look(row, row.error if is_waiting else "", ""))
    except KeyboardInterrupt as error:
        msg = "Not waiting any more; it goes on. The same command watches it again."
        raise CommandError(msg, returncode=INTERRUPTED) from error
    return row


def _tell(console: Console, row: Download, *, is_silent: bool) -> None:
    """Say how it has ended.

    Raises:
        CommandError: it has failed, or was cancelled.
    """
    if row.state == DownloadState.FAILED:
        raise CommandError(row.error)
    if row.state == DownloadState.CANCELLED:
        msg = "Cancelled. What came stays: the same command goes on from there."
        raise CommandError(msg, returncode=INTERRUPTED)
    if is_silent:
        return
    name, node = escape(row.reference), escape(row.node)
    if row.is_under_way:
        console.print(f"{name} is being copied to node {node}. The same command watches it.")
        return
    size = size_text(row.total_bytes or 0)
    console.print(
        f"Copied {size}, and the hashes are right. [cyan]{name}[/] is on node {node} as well, "
        f"not started: `manage.py servers start {name} --node {node}`."
    )
