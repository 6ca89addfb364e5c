from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console

from magi_site.bootstrap import bootstrap


class Command(BaseCommand):
    help = "Migrate, import new profile files, create the first admin. Safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        bootstrap(Console(soft_wrap=True, highlight=False))
