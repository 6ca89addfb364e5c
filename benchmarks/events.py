"""What /api/events costs: the same events by Redis's own pub/sub, and through a web process.

    python -m benchmarks.events [--listeners 1000] [--rate 20] [--seconds 10] [--json]

Redis, the web process (the real one, with the gateway in it) and the listeners are a process
each. On two cores they take them from each other, so the delays at many listeners are an
upper bound; `cpu_ms` of the web process is what does not depend on that.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.events_parts import HOST
from magi_site.embedded_redis import redis_argv
from magi_site.processes import runnable, web_command
from models_app.events import MAX_KEPT, SERVER, Publisher, channel, stream

PATIENCE_S = 60.0
EVENT = {"model_id": "qwen3_4p0b_q4km_fast", "replica": 0, "state": "starting", "progress": 0.5}


class Bench:
    """A Redis with a publisher and a web process at it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"unix://{folder / 'redis.sock'}"
        self.socket = str(folder / "redis.sock")
        self.port = port
        self.redis = Redis.from_url(self.url)
        self.publisher = Publisher(self.url)

    def publish(self, count: int, rate: float) -> float:
        """Publish at a rate, or without one as fast as it goes; return seconds for each."""
        spent_s = 0.0
        due = time.monotonic()
        for _ in range(count):
            began = time.monotonic()
            self.publisher.publish(SERVER, {**EVENT, "at_ns": time.monotonic_ns()})
            spent_s += time.monotonic() - began
            if rate:
                due += 1 / rate
                time.sleep(max(due - time.monotonic(), 0))
        return spent_s / count

    def place(self, kind: str) -> str:
        return str(self.port) if kind == "web" else f"{self.socket}#{channel(self.url)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What /api/events costs.")
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20, help="events a second")
    parser.add_argument("--seconds", type=int, default=10, help="for each figure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="magi-events-") as name, _redis(Path(name)):
        bench = Bench(Path(name), _free_port())
        with _web(Path(name), bench) as process:
            found = _measure(bench, psutil.Process(process.pid), arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found, arguments.listeners)


def _measure(
    bench: Bench, web: psutil.Process, arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    count, rate = arguments.listeners, arguments.rate
    events = int(rate * arguments.seconds)
    _delays(bench, web, "web", 1, 20, rate)  # warm
    found: dict[str, dict[str, Any]] = {}
    for listeners in (1, count):
        for kind in ("redis", "web"):
            found[f"{kind}_{listeners}"] = _delays(bench, web, kind, listeners, events, rate)
    last = bench.redis.xrevrange(stream(bench.url), count=1)
    if not last or not isinstance(last[0][0], bytes):
        sys.exit("Nothing was kept.")
    bench.publish(100, 0)
    back = _run("web", bench.place("web"), count, 100, last[0][0].decode())
    found["back"] = {"took_s": back["took_s"]}
    found["publish"] = {
        "nobody_us": bench.publish(MAX_KEPT + 500, 0) * 1e6,
        "pubsub_us": _publish_only_us(bench),
        "kept": bench.redis.xlen(stream(bench.url)),
        "kept_bytes": bench.redis.memory_usage(stream(bench.url), samples=0),
    }
    return found


def _delays(
    bench: Bench, web: psutil.Process, kind: str, count: int, events: int, rate: float
) -> dict[str, Any]:
    rss_bytes = web.memory_info().rss
    connections = len(bench.redis.client_list())
    with subprocess.Popen(
        _command(kind, bench.place(kind), count, events), stdout=subprocess.PIPE, text=True
    ) as listeners:
        if listeners.stdout is None or listeners.stdout.readline() != "there\n":
            sys.exit("The listeners could not connect.")
        time.sleep(0.5)
        connections = len(bench.redis.client_list()) - connections
        before_s = sum(web.cpu_times()[:2])
        bench.publish(events, rate)
        found: dict[str, Any] = json.loads(listeners.stdout.readline())
    found["cpu_ms"] = (sum(web.cpu_times()[:2]) - before_s) * 1000 / events
    found["rss_kib"] = (web.memory_info().rss - rss_bytes) / 1024 / count
    found["connections"] = connections
    time.sleep(0.5)  # all have left
    return found


def _publish_only_us(bench: Bench) -> float:
    """Return what the same event costs by pub/sub alone."""
    event = json.dumps(EVENT)
    began = time.monotonic()
    for _ in range(MAX_KEPT):
        bench.redis.publish(channel(bench.url), event)
    return (time.monotonic() - began) / MAX_KEPT * 1e6


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.events_parts", *map(str, arguments)]


def _run(*arguments: object) -> dict[str, float]:
    done = subprocess.run(_command(*arguments), stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def _redis(folder: Path) -> Iterator[None]:
    with _ended(subprocess.Popen(redis_argv(folder), stdout=subprocess.DEVNULL)) as process:
        _wait_for(process, (folder / "redis.sock").exists)
        yield


@contextmanager
def _web(folder: Path, bench: Bench) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "MAGI_DATA_DIR": str(folder / "data"),
        "MAGI_API_AUTH": "off",
        "DATABASE_URL": f"sqlite:///{folder / 'magi.sqlite3'}",
        "REDIS_URL": bench.url,
    }
    command = runnable(web_command(HOST, bench.port))
    with _ended(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)) as web:
        _wait_for(web, lambda: _is_taken(bench.port))
        yield web


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Have it end with the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_there():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"It did not start: {process.args!r}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _print(found: dict[str, dict[str, Any]], listeners: int) -> None:
    table = Table(title=f"{psutil.cpu_count()} cores for all of it together")
    for column in ("what", "Redis's pub/sub", "/api/events"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for count in (1, listeners):
        floor, ours = found[f"redis_{count}"], found[f"web_{count}"]
        for key in ("p50_ms", "p99_ms", "max_ms"):
            added = f"{ours[key]:.2f} ({ours[key] - floor[key]:+.2f})"
            what = f"delay at {count} listeners, {key.removesuffix('_ms')}, ms"
            table.add_row(what, f"{floor[key]:.2f}", added)
        table.add_row(f"connections to Redis at {count}", *_both(floor, ours, "connections"))
        cpu = f"{ours['cpu_ms']:.2f}"
        table.add_row(f"CPU of the web process for an event at {count}, ms", "", cpu)
    rss = f"{found[f'web_{listeners}']['rss_kib']:.1f}"
    table.add_row("memory of the web process for a listener, KiB", "", rss)
    took = f"{found['back']['took_s']:.2f}"
    table.add_row(f"{listeners} come back and get 100 events each, s", "", took)
    publish = found["publish"]
    table.add_row(
        "to publish to nobody, us", f"{publish['pubsub_us']:.0f}", f"{publish['nobody_us']:.0f}"
    )
    table.add_row("events that are kept", "", str(publish["kept"]))
    table.add_row("memory of Redis for them, KiB", "", f"{publish['kept_bytes'] / 1024:.0f}")
    Console().print(table)


def _both(floor: dict[str, Any], ours: dict[str, Any], key: str) -> tuple[str, str]:
    return str(floor[key]), str(ours[key])


if __name__ == "__main__":
    main()
