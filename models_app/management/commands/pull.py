"""`manage.py pull`: fetch a model, here and now or on the node's worker."""

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from models_app.download_models import HUBS, Download, DownloadState
from models_app.downloads import service, worker
from models_app.downloads.bar import DownloadBar
from models_app.downloads.figures import as_json, size_text
from models_app.errors import InvalidReferenceError, ModelsError
from models_app.queue import require_worker
from models_app.terminal import INTERRUPTED

MISUSED: Final = 2
_LIMIT = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([kMG]?)(?:i?B)?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def bytes_per_s(text: str) -> int:
    """Read a rate.

    >>> bytes_per_s("5M"), bytes_per_s("500k")
    (5000000, 500000)
    """
    match = _LIMIT.fullmatch(text.strip())
    value = float(match[1]) * _UNITS[match[2].lower()] if match else 0
    if value < 1000:
        msg = f"{text!r} is no rate. Give bytes a second, such as 500k or 5M; 1k is the least."
        raise ArgumentTypeError(msg)
    return int(value)


class Command(BaseCommand):
    help = (
        "Fetch a model: org/repo[:QUANT] from the Hugging Face Hub, or name[:tag] from "
        "Ollama's registry. It is registered, and not enabled. Stopped, it goes on when asked "
        "for again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("reference", help="org/repo, org/repo:Q8_0, qwen3:4b, …")
        parser.add_argument("--revision", default="", help="A branch, a tag or a commit.")
        parser.add_argument(
            "--source",
            default="",
            choices=[value for value, _ in HUBS],
            help="Instead of by its name.",
        )
        parser.add_argument(
            "--limit", type=bytes_per_s, metavar="RATE", help="Bytes a second: 500k, 5M."
        )
        parser.add_argument(
            "--queue",
            action="store_true",
            help="Have the node's worker do it, and wait for it.",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print what became of it as JSON."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=options["json"], highlight=False)
        asked = {
            "source": options["source"],
            "revision": options["revision"],
            "limit_bytes_per_s": options["limit"],
        }
        try:
            if options["queue"]:
                require_worker(settings.MAGI_NODE)
                row = service.request_download(options["reference"], **asked)
                row = _followed(console, row)
            else:
                row, _ = service.want(options["reference"], **asked)
                row = _fetched(console, row)
        except InvalidReferenceError as error:
            raise CommandError(str(error), returncode=MISUSED) from error
        except ModelsError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(as_json(row), indent=2))
        if row.state == DownloadState.FAILED:
            raise CommandError(row.error)
        if row.state == DownloadState.CANCELLED:
            msg = "Cancelled. What came stays: the same command goes on from there."
            raise CommandError(msg, returncode=INTERRUPTED)
        if not options["json"]:
            _tell(console, row)


def _fetched(console: Console, row: Download) -> Download:
    """Fetch it in this process; if the worker is at it already, watch that."""
    try:
        with DownloadBar(console, row) as bar:
            done = worker.run(row.pk, on_tick=bar.show)
    except KeyboardInterrupt:
        service.cancel_download(row)
        return row
    if done is None or done.is_under_way:  # another is at it, or is to go on with it
        return _followed(console, row)
    return done


def _followed(console: Console, row: Download) -> Download:
    """Watch what the worker does."""
    console.print(f"The worker of node {escape(row.node)} fetches it.")
    try:
        with DownloadBar(console, row) as bar:
            while row.is_under_way:
                row = service.wait_for(
                    row.pk, seconds=0.5, until=lambda now: not now.is_under_way
                )
                bar.show(worker.Look(row, "", ""))
    except KeyboardInterrupt as error:
        msg = "Not waiting any more; it goes on. The same command watches it again."
        raise CommandError(msg, returncode=INTERRUPTED) from error
    return row


def _tell(console: Console, row: Download) -> None:
    model_id = row.model.model_id if row.model else ""
    size = size_text(row.total_bytes or 0)
    console.print(
        f"Fetched {size}, and the hashes are right. Registered as [cyan]{escape(model_id)}[/], "
        f"not enabled by that: add it to a profile, or `manage.py servers start "
        f"{escape(model_id)}`.",
        soft_wrap=True,
    )
