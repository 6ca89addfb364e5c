"""`manage.py park`: end this machine's llama-servers as it shuts down; they stay wanted."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.markup import escape

from models_app.errors import NoWorkerError, QueueUnavailableError
from models_app.queue import require_worker
from servers_app.supervisor import sweeping
from servers_app.supervisor.parking import park


class Command(BaseCommand):
    help = (
        "End the llama-servers of this node, whose worker was stopped before. What is wanted "
        "of them stays: the next worker starts them again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--drain",
            type=float,
            default=10.0,
            metavar="SECONDS",
            help="That requests in flight may take. 10.",
        )
        parser.add_argument(
            "--no-check", action="store_true", help="Do not ask whether a worker is at work."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        node = settings.MAGI_NODE
        if not options["no_check"] and _has_worker(node):
            msg = (
                f"The worker of {node} is at work, and would start them again at once. Stop it "
                "first; `manage.py servers stop --all` stops servers while it runs."
            )
            raise CommandError(msg)
        try:
            left = park(node, drain_s=options["drain"])
        except (DatabaseError, OSError):
            # It is away, or full: they are told of by their folders, too.
            sweeping.end_all()
            left = []
        if left:
            msg = f"Still running: {', '.join(left)}."
            raise CommandError(msg)
        Console(highlight=False, soft_wrap=True).print(
            f"No llama-server runs on {escape(node)}."
        )


def _has_worker(node: str) -> bool:
    try:
        require_worker(node)
    except (NoWorkerError, QueueUnavailableError):
        return False
    return True
