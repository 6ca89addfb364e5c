"""Many callers of the REST API at once.

    python -m benchmarks.api [--clients 200] [--seconds 60] [--json]

All of MAGI is run in a temporary folder, on SQLite or on the PostgreSQL that DATABASE_URL
names (an empty database). Each model has two callers who write to it, one its tier and one
its thinking, besides reading: in the end it must have the last value that each was told is
set. The floor is the same number of clients who ask /health. The exit status is 1 if a call
failed or a value was lost.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.cache import make_cache

ROOT: Final = Path(__file__).parents[1]
MODELS: Final = 200
PATIENCE_S: Final = 120.0
FLOOR_SECONDS: Final = 5.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
READS: Final = (
    "/api/models/registry?page=1&page_size=50",
    "/api/models/{model_id}",
    "/api/models/{model_id}",
    "/api/models/servers",
    "/api/models/profiles",
    "/api/models/tiers/fast",
    "/api/models/profile",
)
WRITE_SHARE: Final = 0.2
VALUES: Final[dict[str, list[Any]]] = {
    "tier": ["fast", "balanced", "powerful", None],
    "thinking": [True, False, None],
}


class Caller:
    """One client: it reads anything, and writes one field of one model."""

    def __init__(self, session: aiohttp.ClientSession, model_id: str, field: str) -> None:
        self._session = session
        self.model_id = model_id
        self.field = field
        self.told: Any = None  # the last value that it was told is set
        self._random = random.Random(f"{model_id} {field}")  # noqa: S311 - no secret
        self.spans_s: list[float] = []
        self.failures: Counter[str] = Counter()

    async def call_until(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._random.random() < WRITE_SHARE:
                value = self._random.choice(VALUES[self.field])
                path = f"/api/models/{self.model_id}/{self.field}"
                if await self._call("PUT", path, {self.field: value}):
                    self.told = value
            else:
                path = self._random.choice(READS).format(model_id=self.model_id)
                await self._call("GET", path)

    async def _call(self, method: str, path: str, body: object = None) -> bool:
        began = time.monotonic()
        try:
            async with self._session.request(method, path, json=body) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[f"{method} {path}: {error!r}"] += 1
            return False
        self.spans_s.append(time.monotonic() - began)
        if answer.status != 200:
            self.failures[f"{method} {path}: {answer.status} {text[:200]}"] += 1
        return answer.status == 200


def main() -> int:
    parser = argparse.ArgumentParser(description="Many callers of the REST API at once.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="magi-api-") as name, _magi(Path(name)) as url:
        found = asyncio.run(_measure(url, arguments.clients, arguments.seconds))
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found)
    return int(bool(found["failures"] or found["lost"]))


async def _measure(url: str, clients: int, seconds: float) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=TIMEOUT) as session:
        async with session.get("/api/models/registry") as answer:
            model_ids = sorted((await answer.json())["models"])
        floor_s = await _floor(session, clients)
        callers = [
            Caller(session, model_ids[number // 2 % len(model_ids)], field)
            for number, field in zip(range(clients), itertools.cycle(VALUES), strict=False)
        ]
        deadline = time.monotonic() + seconds
        await asyncio.gather(*(caller.call_until(deadline) for caller in callers))
        lost = await _lost(session, callers)
    failures = sum((caller.failures for caller in callers), Counter[str]())
    spans_s = [span for caller in callers for span in caller.spans_s]
    return {
        "clients": clients,
        "calls": len(spans_s),
        "calls_per_s": len(spans_s) / seconds,
        "floor": _figures(floor_s),
        "api": _figures(spans_s),
        "failures": dict(failures.most_common(10)),
        "lost": lost,
    }


async def _floor(session: aiohttp.ClientSession, clients: int) -> list[float]:
    spans_s: list[float] = []
    deadline = time.monotonic() + FLOOR_SECONDS

    async def ask() -> None:
        while time.monotonic() < deadline:
            began = time.monotonic()
            async with session.get("/health") as answer:
                await answer.read()
            spans_s.append(time.monotonic() - began)

    await asyncio.gather(*(ask() for _ in range(clients)))
    return spans_s


async def _lost(session: aiohttp.ClientSession, callers: list[Caller]) -> list[str]:
    """Return the models that do not have what their callers were told."""
    lost = []
    for caller in callers:
        async with session.get(f"/api/models/{caller.model_id}") as answer:
            model = await answer.json()
        if model.get(f"{caller.field}_override") != caller.told:
            lost.append(f"{caller.model_id}: {caller.field} is not {caller.told}")
    return lost


def _figures(spans_s: list[float]) -> dict[str, float]:
    ordered = sorted(spans_s)
    return {
        f"p{percent}_ms": ordered[len(ordered) * percent // 100] * 1000 for percent in (50, 99)
    }


@contextmanager
def _magi(folder: Path) -> Iterator[str]:
    """Run MAGI with 200 models that were found and none that is enabled; give its address."""
    cache = make_cache(folder / "hub", MODELS, big_every=MODELS)
    port = _free_port()
    environment = os.environ | {
        "MAGI_DATA_DIR": str(folder / "data"),
        "MAGI_ENV_FILE": os.devnull,
        "MAGI_PORT": str(port),
        "MODEL_SCAN_PATH": str(cache.root),
    }
    said = folder / "terminal.txt"
    with said.open("wb") as file:
        process = psutil.Popen(
            [sys.executable, "manage.py", "run"],
            cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "Ctrl-C stops MAGI" not in said.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"MAGI did not start:\n{said.read_text()}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _print(found: dict[str, Any]) -> None:
    title = f"{found['clients']} clients, {found['calls']:,} calls"
    table = Table(title=f"{title}, {found['calls_per_s']:,.0f} a second")
    for column in ("what", "p50, ms", "p99, ms"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what in ("floor", "api"):
        table.add_row(what, *(f"{value:,.1f}" for value in found[what].values()))
    console = Console()
    console.print(table)
    for failure, count in found["failures"].items():
        console.print(f"[red]{count} times[/] {failure}", markup=True)
    for loss in found["lost"]:
        console.print(f"[red]lost[/] {loss}")
    if not found["failures"] and not found["lost"]:
        console.print("No call failed, and nothing that was written was lost.")


if __name__ == "__main__":
    sys.exit(main())
