"""`manage.py hardware`: what a node has, on the terminal."""

import json
from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from models_app.errors import ModelsError
from models_app.queue import is_done_within
from models_app.terminal import make_console
from servers_app.hardware import Hardware
from servers_app.hardware_asks import look_here, request_look
from servers_app.hardware_page import cards_of, disk_rows, engine_rows, gpu_rows
from servers_app.models import EngineBuild, Node
from servers_app.node_hardware import here

LOOK_TIMEOUT_S: Final = 60.0
PIPED_WIDTH: Final = 120  # columns; its texts are long


class Command(BaseCommand):
    help = "Show what a node has: processor, memory, disks, GPUs, and its engines' devices."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--node", default=settings.MAGI_NODE, help="Default: this machine.")
        parser.add_argument(
            "--refresh",
            action="store_true",
            help="Look at everything anew, and measure how fast its memory is read.",
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        node: str = options["node"]
        console = make_console(stderr=options["json"], piped_width=PIPED_WIDTH)
        try:
            hardware = _find(node, console, refresh=options["refresh"])
        except ModelsError as error:
            raise CommandError(str(error)) from error
        builds = list(EngineBuild.objects.filter(node=node))
        if options["json"]:
            told = {"node": node, **hardware.as_json(), "engines": list(map(_engine, builds))}
            self.stdout.write(json.dumps(told, indent=2))
            return
        _show(console, node, hardware, builds)


def _find(node: str, console: Console, *, refresh: bool) -> Hardware:
    is_here = node == settings.MAGI_NODE
    if is_here and not refresh:
        return here()
    with console.status(f"Looking at node {escape(node)}"):
        if is_here:
            return look_here(node)
        _require_known(node)
        if refresh:
            result = request_look(node)
            if not is_done_within(result, LOOK_TIMEOUT_S) or result.failed():
                msg = f"The worker of node {node} did not come to an end; see its log."
                raise CommandError(msg)
    row = Node.objects.get(name=node)
    hardware = Hardware.from_json(row.hardware)
    if hardware is None:
        msg = f"Node {node} has not said yet what it has. Start its worker: manage.py run."
        raise CommandError(msg)
    return hardware


def _require_known(node: str) -> None:
    known = list(Node.objects.values_list("name", flat=True))
    if node not in known:
        names = ", ".join(known) or "none yet"
        msg = f"No node is called {node!r}. There are: {names}."
        raise CommandError(msg)


def _show(console: Console, node: str, hardware: Hardware, builds: list[EngineBuild]) -> None:
    facts = Table(Column(style="dim", no_wrap=True), Column(), box=None, show_header=False)
    facts.add_row("Node", escape(node))
    for card in cards_of(hardware):
        facts.add_section()
        for number, fact in enumerate(card.facts):
            label = card.title if number == 0 else f"  {fact.label}"
            facts.add_row(label, escape(fact.value))
    console.print(facts)
    _table(
        console,
        ("GPU", "Vendor", "Driver", "Memory"),
        gpu_rows(hardware.gpus),
        empty="No GPU was found: models run on the processor.",
    )
    _table(
        console,
        ("Disk", "Kind", "Space", "Holds"),
        [
            (row.path, row.kind, row.space, "\n".join(row.holds))
            for row in disk_rows(hardware.disks, with_paths=True)
        ],
        empty="No disk is known to hold models: add a scan root.",
    )
    _table(
        console,
        ("Engine", "Device", "Which", "Memory, when it was asked"),
        engine_rows(builds, with_paths=True),
        empty="No engine has been asked yet for its devices: --refresh asks.",
    )
    for note in (*hardware.notes, *hardware.disk_notes):
        console.print(f"[yellow]•[/] {escape(note)}")


def _table(console: Console, columns: tuple[str, ...], rows: list[Any], *, empty: str) -> None:
    console.print()
    if not rows:
        console.print(f"[dim]{empty}[/]")
        return
    table = Table(*(Column(name, overflow="fold") for name in columns), box=None)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _engine(build: EngineBuild) -> dict[str, Any]:
    return {
        "path": build.path,
        "version": build.version,
        "devices": build.devices,
        "problem": build.problem,
        "asked_at": build.asked_at.isoformat(),
    }
