"""Run all of MAGI as a person does, in a folder and on ports of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from django.conf import settings
from psycopg import sql

from tests.ports import free_ports

PATIENCE_S = 120  # a watchdog, far above what anything takes
PORTS = 5


@dataclass
class Magi:
    """A running `manage.py run`, and what it said so far."""

    environment: dict[str, str]
    data_dir: Path
    base_url: str
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def said(self) -> str:
        return (self.data_dir / "terminal.txt").read_text()

    def start(self, *flags: str) -> None:
        """Start it, and return when it says that it is up."""
        terminal = self.data_dir / "terminal.txt"
        with terminal.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run", *flags],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until(lambda: "Ctrl-C stops MAGI" in self.said or self.has_ended)
        assert not self.has_ended, self.said

    def stop(self) -> int:
        """Press Ctrl-C; return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def run_command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - http, to ourselves
            self.base_url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={} if body is None else {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
            return json.load(response)

    def processes(self) -> list[psutil.Process]:
        """Return every living process that this MAGI has started, and itself."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                # Redis overwrites its environment with its title, which names its socket.
                says = [process.environ().get("E2E_TEST_DIR", ""), *process.cmdline()]
                if any(str(self.data_dir) in text for text in says):
                    mine.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return mine

    def process_of(self, name: str) -> psutil.Process:
        """Return the process whose command line has the word `name`."""
        (found,) = [process for process in self.processes() if name in process.cmdline()]
        return found

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.05)


@contextmanager
def magi_in(data_dir: Path) -> Iterator[Magi]:
    """Give the environment of a MAGI that has not been started; leave nothing of it."""
    ports = free_ports(1 + PORTS)
    with _database() as database_url:
        environment = {
            **os.environ,
            "E2E_TEST_DIR": str(data_dir),
            "MAGI_DATA_DIR": str(data_dir / "data"),
            "MAGI_NODE": f"e2e-{os.getpid()}-{ports}",
            "MAGI_PORT": str(ports),
            "MODEL_PORT_RANGE_START": str(ports + 1),
            "MODEL_PORT_RANGE_END": str(ports + PORTS),
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        magi = Magi(environment, data_dir, f"http://localhost:{ports}")
        try:
            yield magi
        finally:
            if not magi.has_ended:
                magi.stop()
            for process in magi.processes():
                process.kill()


@contextmanager
def _database() -> Iterator[str]:
    """On PostgreSQL, give a database of its own; SQLite's lies in the data folder."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield ""
        return
    name = sql.Identifier(f"magi_e2e_{os.getpid()}")
    maintenance = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/magi_e2e_{os.getpid()}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
