"""`manage.py recommend`: which models fit on a node, the best for a task first, and why."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from models_app.acting import who_asks
from models_app.task_kinds import TaskKind
from models_app.terminal import make_console
from profiles_app.errors import ProfilesError
from servers_app.errors import ServersError
from servers_app.recommend.described import read_described
from servers_app.recommend.places import imagined_place, place_of
from servers_app.recommend.profile import MadeProfile, make_profile
from servers_app.recommend.service import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Recommendation,
    Recommendations,
    recommend,
)

MAX_OTHERS = 10


class Command(BaseCommand):
    help = "Recommend models for a task on a node, with their settings; or make a profile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--task",
            default=TaskKind.GENERAL.value,
            help=f"One of: {', '.join(TaskKind.values)}.",
        )
        parser.add_argument("--node", default="", help="A machine; without it, this one.")
        parser.add_argument(
            "--hardware",
            type=Path,
            metavar="FILE",
            help="Another machine, as `manage.py hardware --json` there has it.",
        )
        parser.add_argument(
            "--limit", type=int, default=DEFAULT_LIMIT, help="How many models are shown."
        )
        parser.add_argument(
            "--as-profile", metavar="NAME", default="", help="Make a profile; nothing starts."
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        limit: int = options["limit"]
        if not 1 <= limit <= MAX_LIMIT:
            msg = f"--limit: it is a number from 1 to {MAX_LIMIT}."
            raise CommandError(msg)
        name: str = options["as_profile"]
        file: Path | None = options["hardware"]
        if file is not None and (name or options["node"]):
            msg = "--hardware is of a machine elsewhere: take off --node and --as-profile."
            raise CommandError(msg)
        try:
            place = imagined_place(read_described(file)) if file else place_of(options["node"])
            found = recommend(place, options["task"])
            made = make_profile(found, name, author=who_asks()) if name else None
        except (ServersError, ProfilesError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            value = made.as_json() if made else found.as_json(limit)
            self.stdout.write(json.dumps(value, indent=2))
            return
        console = make_console()
        if made:
            _print_made(console, made)
        else:
            _print_found(console, found, limit)


def _print_found(console: Console, found: Recommendations, limit: int) -> None:
    floor = found.floor
    console.print(escape(found.place.words()))
    threads = f"{floor.num_threads} thread{'' if floor.num_threads == 1 else 's'}"
    console.print(
        f"By the rules: {'; '.join(floor.reasons)}. max_tokens {floor.max_tokens}, context "
        f"{floor.context_length}, {threads}, batch {floor.batch_size}."
    )
    if found.warning:
        console.print(f"[yellow]{escape(found.warning)}[/]")
    if found.recommended:
        console.print()
        console.print(_table(found.recommended[:limit]))
        for each in found.recommended[:limit]:
            console.print(f"\n[bold]{escape(each.model.model_id)}[/]")
            for reason in each.reasons:
                console.print(f"  {escape(reason)}")
    if more := len(found.recommended) - limit:
        console.print(f"\n{more} more fit; --limit shows them.") if more > 0 else None
    if found.others:
        console.print("\n[bold]Not recommended[/]")
        for other in found.others[:MAX_OTHERS]:
            console.print(f"  {escape(other.model_id)}: {escape(other.why)}")
        if more := len(found.others) - MAX_OTHERS:
            console.print(f"  and {more} more; --json has them.") if more > 0 else None


def _table(recommended: Sequence[Recommendation]) -> Table:
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    table = Table(
        Column("Model", no_wrap=True),  # it is what is copied
        Column("Points", **right),
        Column("Tier", no_wrap=True),
        Column("Context", **right),
        Column("KV", no_wrap=True),
        Column("GPU layers", **right),
        Column("Weights MiB", **right),
        Column("KV MiB", **right),
        Column("All MiB", **right),
        Column("Tokens/s", **right),
        Column("From", no_wrap=True),
        Column("Now", no_wrap=True),
        box=None,
    )
    for each in recommended:
        table.add_row(*_cells(each))
    return table


def _cells(each: Recommendation) -> tuple[str, ...]:
    fit, speed = each.fit, each.speed
    told = each.parts
    return (
        escape(each.model.model_id),
        f"{each.score:g}",
        each.model.tier or "-",
        f"{fit.ctx_size:,}",
        fit.cache_type,
        "-" if fit.n_gpu_layers is None else f"{fit.n_gpu_layers} of {fit.layers or '?'}",
        f"{told['weights_mib']:,}",
        f"{told['kv_cache_mib']:,}",
        f"{fit.total_mib:,}",
        "-" if speed.tokens_per_s is None else f"{speed.tokens_per_s:.3g}",
        speed.source.value,
        "[green]fits[/]" if each.fits_now else "[yellow]others stop[/]",
    )


def _print_made(console: Console, made: MadeProfile) -> None:
    slug = made.profile.slug
    console.print(
        f"[green]✓[/] Profile {escape(slug)}, for {made.memory_mib:,} of {made.room_mib:,} MiB"
    )
    for member in made.members:
        settings = ", ".join(f"{key} {value}" for key, value in member.run_settings.items())
        console.print(f"  {escape(member.recommendation.model.model_id)}: {escape(settings)}")
    for warning in made.warnings:
        console.print(f"  [yellow]![/] {escape(warning)}")
    console.print(
        f"Nothing was started. `manage.py profiles activate {slug} --plan` says what would."
    )
