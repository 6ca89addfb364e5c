"""What many nodes and servers cost: heartbeats, reconciles, routing, and what looks at all.

    python -m benchmarks.scale [--nodes 10 --nodes 25 --nodes 50 --nodes 100] [--json]

On a PostgreSQL and a Redis of its own. Each node has ten ready servers, of as many models as
there are nodes, each on ten of them. A node is a process that does what a worker's heartbeat
does, and the tasks of its clock, when they are due; Celery's transport is left out, and a
stand-in answers for the llama-servers. Beside each cost stands how it grows: the exponent of
its power law over the numbers of nodes, of which 1 is linear.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import scale_parts as parts
from benchmarks.lifecycle import free_ports
from magi_site.embedded_redis import redis_argv
from tests.postgres_server import PostgresServer

NODES = (10, 25, 50, 100)
SECONDS = 40.0
REPEATS = 7
CHOICES = 2000


def main() -> None:
    arguments = _arguments()
    counts = arguments.nodes or list(NODES)
    with tempfile.TemporaryDirectory(prefix="magi-scale-") as name, ExitStack() as stack:
        folder = Path(name)
        postgres = PostgresServer(folder, free_ports())
        postgres.start()
        stack.callback(postgres.kill)
        redis = subprocess.Popen(redis_argv(folder), stdout=subprocess.DEVNULL)
        stack.callback(redis.wait)
        stack.callback(redis.kill)
        _set_up(folder, postgres)
        stack.enter_context(parts.stand_in())
        measured = [
            _measure(count, arguments.seconds, folder, psutil.Process(postgres.pid))
            for count in counts
        ]
    costs = {what: [each[what] for each in measured] for what in measured[0]}
    result = {
        what: {"costs": values, "growth": _exponent(counts, values)}
        for what, values in costs.items()
    }
    if arguments.json:
        sys.stdout.write(json.dumps({"nodes": counts, "costs": result}, indent=2) + "\n")
    else:
        _show(counts, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What many nodes and servers cost.")
    parser.add_argument("--nodes", type=int, action="append", help="repeatable")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that nodes are at work")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _set_up(folder: Path, postgres: PostgresServer) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "magi_site.settings",
        "DATABASE_URL": postgres.url,
        "REDIS_URL": f"unix://{folder / 'redis.sock'}",
        "MAGI_DATA_DIR": str(folder / "data"),
        "MAGI_ENV_FILE": os.devnull,
        "MAGI_NODE": parts.node_name(0),
        "MAGI_LOG_LEVEL": "ERROR",
        "MAGI_ALLOWED_HOSTS": "testserver",
        "MODEL_PORT_RANGE_START": str(parts.FIRST_PORT),
        "MODEL_PORT_RANGE_END": str(parts.FIRST_PORT + parts.SERVERS - 1),
        "LLAMA_SERVER_PATH": "embedded",
    }
    import django  # noqa: PLC0415 - it takes the environment made above
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)


def _measure(
    count: int, seconds: float, folder: Path, postgres: psutil.Process
) -> dict[str, float]:
    from django.core.management import call_command  # noqa: PLC0415

    call_command("flush", interactive=False, verbosity=0)
    parts.populate(count)
    measured = _what_looks_at_all()
    before, began = _cpu_s(postgres), time.monotonic()
    done = parts.work(count, seconds, folder)
    wall_s = time.monotonic() - began
    measured["PostgreSQL, cores"] = (_cpu_s(postgres) - before) / wall_s
    measured["all nodes, cores"] = sum(each.pop("cpu")[0] for each in done) / wall_s
    for what in done[0]:
        took = sorted(second for each in done for second in each[what])
        measured[f"{what}, ms"] = statistics.median(took) * 1000
        if what in ("heartbeat", "reconcile"):
            measured[f"{what}, p99 ms"] = took[math.floor(len(took) * 0.99)] * 1000
    return measured


def _what_looks_at_all() -> dict[str, float]:
    """Return the milliseconds of what goes through all nodes and servers, here and now."""
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from magi_site.metrics.facts import read_facts  # noqa: PLC0415
    from profiles_app.models import Profile  # noqa: PLC0415
    from servers_app.gateway.choosing import Balancer  # noqa: PLC0415
    from servers_app.gateway.table import table_now  # noqa: PLC0415
    from servers_app.gateway.wishes import Wish  # noqa: PLC0415
    from servers_app.planning import make_plan  # noqa: PLC0415

    profile = Profile.objects.get()
    table, balancer = table_now(), Balancer()
    wishes = [Wish(model_id) for model_id in list(table.routes)[:5]]

    def choose() -> None:
        for number in range(CHOICES):
            balancer.choose(table, wishes[number % len(wishes)], {})

    client = Client()
    client.force_login(User.objects.create_superuser("scale"))

    def page(path: str) -> Callable[[], object]:
        return lambda: client.get(path)

    return {
        "routing table, ms": _median_ms(table_now),
        "a request's choice, ms": _median_ms(choose) / CHOICES,
        "plan of a profile, ms": _median_ms(lambda: make_plan(profile)),
        "facts of /metrics, ms": _median_ms(read_facts),
        "GET /api/nodes, ms": _median_ms(page("/api/nodes")),
        "GET /api/models/servers, ms": _median_ms(page("/api/models/servers")),
        "dashboard, ms": _median_ms(page("/admin/")),
    }


def _median_ms(call: Callable[[], object]) -> float:
    call()
    took = []
    for _ in range(REPEATS):
        at = time.perf_counter()
        call()
        took.append(time.perf_counter() - at)
    return statistics.median(took) * 1000


def _cpu_s(parent: psutil.Process) -> float:
    """Return the seconds of a process and all children that it has had."""
    family = [parent, *parent.children(recursive=True)]
    times = [process.cpu_times() for process in family]
    ended = parent.cpu_times()
    return (
        sum(it.user + it.system for it in times) + ended.children_user + ended.children_system
    )


def _exponent(sizes: Sequence[int], costs: Sequence[float]) -> float | None:
    """Return b of cost = a * size ** b, by least squares; None for a single size."""
    if len(sizes) < 2 or min(costs) <= 0:
        return None
    line = statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, costs)))
    return line.slope


def _show(counts: Sequence[int], result: dict[str, dict[str, Any]]) -> None:
    table = Table("", *(f"{count} nodes" for count in counts), "Growth", box=None)
    for what, row in result.items():
        growth = row["growth"]
        values = (f"{value:.3g}" for value in row["costs"])
        table.add_row(what, *values, "" if growth is None else f"n^{growth:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
