"""`manage.py hub search|quants`: what there is to pull, on the terminal."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.markup import escape
from rich.table import Column, Table

from models_app.downloads.figures import size_text
from models_app.errors import DownloadError
from models_app.hubsearch.searching import MAX_FOUND, SORTS, USUAL_FOUND, search_hub
from models_app.terminal import make_console
from servers_app.hub_quants import QuantHere, quants_here

COLOURS = {"ready": "green", "starting": "yellow", "failed": "red"}


class Command(BaseCommand):
    help = "Look for models at the hub, and list what a repo has and whether it fits."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        search = commands.add_parser("search", help="Repos with GGUF models, by words.")
        search.add_argument("words", nargs="*", help="Of their names; without any: all.")
        search.add_argument(
            "--limit", type=int, default=USUAL_FOUND, help=f"Up to {MAX_FOUND}."
        )
        search.add_argument("--sort", choices=SORTS, default=SORTS[0])
        quants = commands.add_parser("quants", help="The quantizations of a repo.")
        quants.add_argument("repo", help="As org/repo.")
        quants.add_argument("--revision", default="", help="A branch, a tag or a commit.")
        quants.add_argument("--node", default="", help="Whose room is looked at.")
        for command in commands.choices.values():
            command.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        try:
            if options["command"] == "search":
                self._search(options)
            else:
                self._quants(options)
        except DownloadError as error:
            raise CommandError(str(error)) from error

    def _search(self, options: dict[str, Any]) -> None:
        if not 1 <= options["limit"] <= MAX_FOUND:
            msg = f"--limit is a number from 1 to {MAX_FOUND}."
            raise CommandError(msg)
        words = " ".join(options["words"])
        found = search_hub(words, limit=options["limit"], sort=options["sort"])
        if options["json"]:
            self.stdout.write(json.dumps([repo.as_json() for repo in found], indent=2))
            return
        if not found:
            self.console.print(f"Nothing at the hub is like {words!r}. Try fewer words.")
            return
        table = Table(
            Column("Repo", no_wrap=True),
            "Parameters",
            "Downloads",
            "Likes",
            "Updated",
            "",
            box=None,
        )
        for repo in found:
            table.add_row(
                escape(repo.repo),
                f"{repo.parameter_count / 1e9:.1f}B" if repo.parameter_count else "-",
                "-" if repo.downloads is None else f"{repo.downloads:,}",
                "-" if repo.likes is None else f"{repo.likes:,}",
                f"{repo.updated_at:%Y-%m-%d}" if repo.updated_at else "-",
                "gated" if repo.is_gated else "",
            )
        self.console.print(table)
        self.console.print("`manage.py hub quants REPO` lists what one has.")

    def _quants(self, options: dict[str, Any]) -> None:
        found = quants_here(options["repo"], revision=options["revision"], node=options["node"])
        if options["json"]:
            self.stdout.write(json.dumps(found.as_json(), indent=2))
            return
        if not found.quants:
            self.console.print(f"{found.repo} has no GGUF model. Look for one named -GGUF.")
            return
        table = Table(
            Column("To pull", no_wrap=True), "Size", "Bits", "Shards", "Projector", "Memory",
            "Here", "Note", box=None,
        )  # fmt: skip
        for each in found.quants:
            table.add_row(*_row(each))
        self.console.print(table)
        self.console.print(
            f"{found.room} Memory is without the cache of a context.", soft_wrap=True
        )


def _row(each: QuantHere) -> tuple[str, ...]:
    quant, verdict = each.quant, each.verdict
    notes = []
    if each.model is not None:
        notes.append(f"here as {each.model.model_id}")
    if not quant.is_whole:
        notes.append("shards are missing at the hub")
    if each.fits_disk is False:
        notes.append("no room on the disk")
    if quant.is_usual:
        notes.append("the usual one")
    colour = COLOURS[verdict.colour] if verdict else "dim"
    return (
        escape(quant.reference),
        "?" if quant.size_bytes is None else size_text(quant.size_bytes),
        f"{quant.bits_per_weight:g}" if quant.bits_per_weight else "-",
        str(quant.shard_count),
        size_text(quant.projector_bytes) if quant.projector_bytes else "-",
        "?" if each.memory_mib is None else f"{each.memory_mib:,} MiB",
        f"[{colour}]{verdict.word if verdict else 'not known'}[/]",
        "; ".join(notes),
    )
