"""`manage.py nodes`: the machines with a worker, on the terminal."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from rich.markup import escape
from rich.table import Table

from models_app.errors import ModelsError
from models_app.terminal import make_console
from servers_app.errors import ServersError
from servers_app.node_list import NodeState, ShownNode, shown
from servers_app.node_service import forget, set_cordoned

GIB = 2**30
COLOURS = {NodeState.ALIVE: "green", NodeState.CORDONED: "yellow", NodeState.SILENT: "red"}


class Command(BaseCommand):
    help = "Show the nodes; cordon or uncordon one, or forget one that is gone for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "action",
            nargs="?",
            choices=("list", "cordon", "uncordon", "forget"),
            default="list",
        )
        parser.add_argument("name", nargs="?", default="", help="Of a node.")
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        action, name = options["action"], options["name"]
        if action == "list":
            self._list(as_json=options["json"], name=name)
            return
        if not name:
            msg = f"Name the node: manage.py nodes {action} NAME."
            raise CommandError(msg)
        try:
            if action == "forget":
                gone = forget(name)
                what = f"servers {gone.servers}, scan roots {gone.scan_roots}"
                self.stdout.write(
                    f"Forgot {name}. What went with it: {what}, copies of models {gone.copies}."
                )
                return
            set_cordoned(name, cordoned=action == "cordon")
        except (ModelsError, ServersError) as error:
            raise CommandError(str(error)) from error
        gets = "gets no new servers; those there stay" if action == "cordon" else "gets servers"
        self.stdout.write(f"{name} {gets}.")

    def _list(self, *, as_json: bool, name: str) -> None:
        nodes = [node for node in shown() if not name or node.node.name == name]
        if name and not nodes:
            msg = f"Node not found: {name}. `manage.py nodes` shows them."
            raise CommandError(msg)
        if as_json:
            rows = list(map(_as_json, nodes))
            self.stdout.write(json.dumps(rows, indent=2, cls=DjangoJSONEncoder))
            return
        console = make_console()
        if not nodes:
            console.print("No node has been seen yet. Start one: `manage.py run`.")
            return
        console.print(_table(nodes))
        for node in nodes:
            for warning in node.warnings:
                console.print(f"[yellow]{escape(node.node.name)}:[/] {escape(warning)}")


def _table(nodes: Iterable[ShownNode]) -> Table:
    columns = ("Node", "Address", "State", "Cores", "GiB free", "GPUs", "Servers", "Models")
    table = Table(*columns, "Version", "Build", box=None)
    for each in nodes:
        node = each.node
        table.add_row(
            escape(node.name),
            escape(node.address),
            _state(each),
            str(node.hardware.get("logical_cores", "-")),
            _memory(node.hardware),
            escape("\n".join(map(_gpu, node.hardware.get("gpus", [])))) or "-",
            str(each.running),
            str(each.models),
            escape(each.version) or "-",
            escape("\n".join(each.builds)) or "-",
        )
    return table


def _state(shown_node: ShownNode) -> str:
    node, state = shown_node.node, shown_node.state
    text = state.label.lower()
    if node.heartbeat_at is None:
        text = "never seen"
    elif state == NodeState.SILENT:
        text = f"silent since {timezone.localtime(node.heartbeat_at):%Y-%m-%d %H:%M:%S}"
    if state == NodeState.SILENT and node.is_cordoned:
        text += ", cordoned"
    return f"[{COLOURS[state]}]{text}[/]"


def _memory(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return "-"
    return f"{hardware['available_bytes'] / GIB:.1f} of {hardware['total_bytes'] / GIB:.1f}"


def _gpu(gpu: Mapping[str, Any]) -> str:
    free, total = gpu["free_bytes"] / GIB, gpu["total_bytes"] / GIB
    return f"{gpu['name']}, {free:.1f} of {total:.1f} GiB free"


def _as_json(shown_node: ShownNode) -> dict[str, Any]:
    """Return what the API tells of it, and what only who is on a machine may know."""
    node = shown_node.node
    return {
        **shown_node.as_json(),
        "is_alive": node.is_alive,
        "worker_pid": node.worker_pid,
        "hardware": node.hardware,
        "facts": node.facts,
        "servers_running": shown_node.running,
    }
