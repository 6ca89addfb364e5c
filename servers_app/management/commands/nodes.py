"""`manage.py nodes`: the machines with a worker, on the terminal."""

import json
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servers_app.models import RUNNING, EngineBuild, Node, Server

GIB = 2**30
PIPED_WIDTH = 200  # columns, where no terminal has one


class Command(BaseCommand):
    help = "Show the nodes: whether each is there, what it has, and what it runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = list(Node.objects.all())
        servers = dict(
            Server.objects.filter(state__in=RUNNING)
            .order_by("node")
            .values_list("node")
            .annotate(count=Count("pk"))
        )
        builds = defaultdict(list)
        for engine in EngineBuild.objects.filter(problem=""):
            builds[engine.node].append(engine.version or engine.path)
        if options["json"]:
            rows = [
                _as_json(node, servers.get(node.name, 0), builds[node.name]) for node in nodes
            ]
            self.stdout.write(json.dumps(rows, indent=2))
            return
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        if not nodes:
            console.print("No node has been seen yet. Start one: `manage.py run`.")
            return
        table = Table(
            *("Node", "Address", "Alive", "Cores", "GiB free", "GPUs", "Servers", "Build"),
            box=None,
        )
        for node in nodes:
            table.add_row(
                escape(node.name),
                escape(node.address),
                _alive(node),
                str(node.hardware.get("logical_cores", "-")),
                _memory(node.hardware),
                escape("\n".join(map(_gpu, node.hardware.get("gpus", [])))) or "-",
                str(servers.get(node.name, 0)),
                escape("\n".join(builds[node.name])) or "-",
            )
        console.print(table)


def _alive(node: Node) -> str:
    if node.is_alive:
        return "[green]yes[/]"
    if node.heartbeat_at is None:
        return "[red]never seen[/]"
    return f"[red]no, last seen {timezone.localtime(node.heartbeat_at):%Y-%m-%d %H:%M:%S}[/]"


def _memory(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return "-"
    return f"{hardware['available_bytes'] / GIB:.1f} of {hardware['total_bytes'] / GIB:.1f}"


def _gpu(gpu: Mapping[str, Any]) -> str:
    free, total = gpu["free_bytes"] / GIB, gpu["total_bytes"] / GIB
    return f"{gpu['name']}, {free:.1f} of {total:.1f} GiB free"


def _as_json(node: Node, servers: int, builds: list[str]) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": node.address,
        "is_alive": node.is_alive,
        "heartbeat_at": node.heartbeat_at.isoformat() if node.heartbeat_at else None,
        "started_at": node.started_at.isoformat() if node.started_at else None,
        "worker_pid": node.worker_pid,
        "hardware": node.hardware,
        "servers_running": servers,
        "builds": builds,
    }
