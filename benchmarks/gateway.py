"""What the gateway costs: the same server asked directly, and through it.

    python -m benchmarks.gateway [--litellm PROGRAM] [--router LLAMA_SERVER] [--json]

Server, gateway and load are a process each. On two cores they take them from each other,
so what is added at many clients is an upper bound; `cpu_ms` of the gateway's process is
what does not depend on that. LiteLLM's proxy is measured too where it is installed, and
llama-server's own router where a program is given (see gateway_router.py).
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import gateway_router
from benchmarks.gateway_parts import HOST, MODEL

CLIENTS = (1, 16, 64)
STREAMS = 64
EVENTS, PAUSE_MS = 60, 50
FIRSTS = 50  # streams, one after another
IDLE = 1000
PATIENCE_S = 60.0
WARM_S = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="What the gateway costs.")
    parser.add_argument("--seconds", type=int, default=3, help="of load for each figure")
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="a path")
    parser.add_argument("--router", type=Path, help="a llama-server")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as running:
        upstream = _free_port()
        running.enter_context(_part("upstream", upstream))
        targets: dict[str, tuple[int, psutil.Process | None]] = {"direct": (upstream, None)}
        gateway = _free_port()
        process = running.enter_context(_part("gateway", gateway, upstream))
        targets["MAGI"] = (gateway, psutil.Process(process.pid))
        if arguments.litellm:
            other = _free_port()
            process = running.enter_context(_litellm(arguments.litellm, other, upstream))
            targets["LiteLLM"] = (other, psutil.Process(process.pid))
        results = {
            # LiteLLM writes each event anew, and loses the time that the upstream put in it.
            name: _measure(port, watched, arguments.seconds, has_streams=name != "LiteLLM")
            for name, (port, watched) in targets.items()
        }
    routed = _routed(arguments.router) if arguments.router else {}
    if arguments.json:
        found = {"cores": psutil.cpu_count(), "results": results, "router": routed}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(results)
        if routed:
            _print_routed(routed)


def _routed(llama_server: Path) -> dict[str, dict[str, float]]:
    port, gateway = _free_port(), _free_port()
    with (
        gateway_router.router(llama_server, port) as child,
        _part("gateway", gateway, child),
    ):
        return gateway_router.measure(
            {"direct": child, "MAGI": gateway, "llama-server's router": port}
        )


def _measure(
    port: int, watched: psutil.Process | None, seconds: int, *, has_streams: bool
) -> dict[str, Any]:
    _load("requests", port, 4, WARM_S)
    result: dict[str, Any] = {}
    for clients in CLIENTS:
        before_s = _cpu_s(watched)
        found = _load("requests", port, clients, seconds)
        answered = found["requests_per_s"] * seconds
        found["cpu_ms"] = (_cpu_s(watched) - before_s) * 1000 / answered
        result[f"clients_{clients}"] = found
    if not has_streams:
        return result
    firsts = sorted(_load("streams", port, 1, 1, 1)["first_ms"] for _ in range(FIRSTS))
    result["first_ms"] = firsts[len(firsts) // 2]
    result["streams"] = _load("streams", port, STREAMS, EVENTS, PAUSE_MS)
    result["rss_mib"] = _idle_rss_mib(port, watched) if watched else None
    return result


def _idle_rss_mib(port: int, watched: psutil.Process) -> float:
    command = [*_command("idle", port, IDLE)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        if holder.stdout is None or holder.stdout.readline() != "held\n":
            sys.exit("The idle streams could not be opened.")
        rss_bytes: int = watched.memory_info().rss
        holder.communicate("\n")
    return rss_bytes / 2**20


def _cpu_s(watched: psutil.Process | None) -> float:
    return sum(watched.cpu_times()[:2]) if watched else 0.0


def _load(*arguments: object) -> dict[str, float]:
    done = subprocess.run(_command(*arguments), stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gateway_parts", *map(str, arguments)]


@contextmanager
def _part(name: str, port: int, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    with _listening(_command(name, port, *arguments), port) as process:
        yield process


@contextmanager
def _litellm(program: str, port: int, upstream: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(prefix="magi-gateway-") as folder:
        config = Path(folder) / "config.yaml"
        parameters = {
            "model": f"openai/{MODEL}",
            "api_base": f"http://{HOST}:{upstream}/v1",
            "api_key": "none",
        }
        models = [{"model_name": MODEL, "litellm_params": parameters}]
        # It refuses to start without a key of its own, or this.
        general = {"dangerously_permit_weak_or_unset_master_key": True}
        content = {"model_list": models, "general_settings": general}
        config.write_text(json.dumps(content))  # JSON is YAML
        command = [program, "--config", str(config)]
        with _listening([*command, "--host", HOST, "--port", str(port)], port) as process:
            yield process


@contextmanager
def _listening(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _is_taken(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"It did not start: {' '.join(command)}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _print(results: dict[str, dict[str, Any]]) -> None:
    table = Table(title=f"{psutil.cpu_count()} cores for server, gateway and load together")
    for column in ("what", *results, "asked of MAGI"):
        table.add_column(column, justify="left" if column == "what" else "right")
    floor = results["direct"]

    def row(what: str, asked: str, *path: str, is_added: bool = False) -> None:
        cells = []
        for name, result in results.items():
            value: Any = result
            least: Any = floor
            for key in path:
                value, least = (value or {}).get(key), least[key]
            added = (
                f" ({value - least:+.2f})" if is_added and value and name != "direct" else ""
            )
            cells.append("" if value is None else f"{value:,.2f}{added}")
        table.add_row(what, *cells, asked)

    for clients in CLIENTS:
        key = f"clients_{clients}"
        asked = "+0.7 or less" if clients == 1 else ""
        row(f"p50 at {clients} clients, ms", asked, key, "p50_ms", is_added=True)
        row(f"p99 at {clients} clients, ms", "", key, "p99_ms", is_added=True)
        asked = "3,000 or more" if clients == 64 else ""
        row(f"requests/s at {clients} clients", asked, key, "requests_per_s")
        row(f"CPU of a request at {clients} clients, ms", "", key, "cpu_ms")
    row("first streamed byte, ms", "+1 or less", "first_ms", is_added=True)
    what = f"delay of an event at {STREAMS} streams"
    row(f"{what}, p50, ms", "+1 or less", "streams", "delay_p50_ms", is_added=True)
    row(f"{what}, p99, ms", "+5 or less", "streams", "delay_p99_ms", is_added=True)
    row(f"RSS with {IDLE} idle streams, MiB", "under 143", "rss_mib")
    Console().print(table)


def _print_routed(routed: dict[str, dict[str, float]]) -> None:
    table = Table(title="the same llama-server, one client, tokens counted")
    for column in ("what", "p50, ms", "p99, ms"):
        table.add_column(column, justify="left" if column == "what" else "right")
    floor = routed["direct"]
    for name, figures in routed.items():
        cells = [f"{value:.2f} ({value - floor[key]:+.2f})" for key, value in figures.items()]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
