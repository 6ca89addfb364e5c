"""The processes that MAGI consists of, and how `manage.py run` keeps them.

docker-compose.yml runs the same commands; a test compares the two.
"""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from magi_site.log_files import turn_over
from models_app.queue import CLUSTER, queue_of
from servers_app import processes
from servers_app.processes import ProcessIdentity

log = logging.getLogger(__name__)

WORKER_THREADS = 32  # a thread is taken while a model loads, and idles otherwise
STOP_TIMEOUT_S = 15.0
RESTART_PAUSE_S = 1.0
MAX_RESTART_PAUSE_S = 30.0
STABLE_S = 60.0  # what ran for so long is restarted at once again
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def web_command(host: str, port: int) -> list[str]:
    return [
        *("python", "-m", "magi_site.web"),
        *("--host", host),
        *("--port", str(port)),
    ]


def worker_command(node: str) -> list[str]:
    return [
        *("python", "-m", "celery", "-A", "magi_site", "worker"),
        *("--hostname", f"{node}@%h"),
        *("--queues", f"{queue_of(node)},{CLUSTER}"),
        *("--pool", "threads"),
        *("--concurrency", str(WORKER_THREADS)),
        *("--loglevel", "INFO"),
        "--without-gossip",
        "--without-mingle",
    ]


def beat_command() -> list[str]:
    return [
        *("python", "-m", "celery", "-A", "magi_site", "beat"),
        *("--loglevel", "INFO"),
        *("--pidfile", ""),
    ]


def watch_command() -> list[str]:
    return ["python", "manage.py", "watch"]


def runnable(command: list[str]) -> list[str]:
    """Return `command` with this interpreter for `python`, so that the venv holds."""
    return [sys.executable, *command[1:]] if command[0] == "python" else command


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let a signal to stop wait for the end of the block.

    Between the start of a process and its place on our list, a Ctrl-C would leave a
    process that nobody ends.
    """
    caught: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: caught.append(number))
        for number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


@dataclass
class Child:
    """One process of ours, in a session of its own: Ctrl-C reaches `run` alone."""

    name: str
    argv: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0  # monotonic, seconds
    restarts: int = 0
    leaving_s: float = 0.0  # that it may take to end besides: for who it has to see off

    @property
    def log_path(self) -> Path:
        return Path(settings.MAGI_DATA_DIR) / "logs" / f"{self.name}.log"

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pause_s(self) -> float:
        return min(RESTART_PAUSE_S * 2.0**self.restarts, MAX_RESTART_PAUSE_S)

    def start(self) -> None:
        path = self.log_path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        turn_over(path)
        with path.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started_at = time.monotonic()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; return when it is gone."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S + self.leaving_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_lines(self, count: int = 5) -> str:
        try:
            text = self.log_path.read_bytes()[-20_000:].decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-count:])


@dataclass
class Children:
    """All of them, remembered in a file so that a later `run` can end what was left."""

    run_dir: Path
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, argv: list[str], *, leaving_s: float = 0.0) -> Child:
        child = Child(name, runnable(argv), leaving_s=leaving_s)
        with signals_deferred():
            child.start()
            self.children.append(child)
            self._remember()
        return child

    def restart_dead(self) -> list[Child]:
        """Start again each child that has ended, and return those.

        One that ends again and again is given longer pauses, up to half a minute, until
        it has run for a minute.
        """
        dead = [
            child
            for child in self.children
            if not child.is_alive and time.monotonic() - child.started_at > child.pause_s
        ]
        with signals_deferred():
            for child in dead:
                lasted_s = time.monotonic() - child.started_at
                child.restarts = 1 if lasted_s > STABLE_S else child.restarts + 1
                child.start()
            if dead:
                self._remember()
        return dead

    def turn_logs_over(self) -> None:
        for child in self.children:
            turn_over(child.log_path)

    def stop(self, *names: str) -> None:
        """Stop the named children, one after the other."""
        for name in names:
            for child in self.children:
                if child.name == name:
                    child.stop()
        self._remember()

    def end_leftovers(self) -> list[str]:
        """End what a `run` left behind that was killed itself; return the names."""
        try:
            records = json.loads(self._file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return []
        left = []
        for record in records:
            identity = ProcessIdentity(record["pid"], record["started_at"], record["boot_id"])
            if processes.find(identity) is None:
                continue
            left.append(record["name"])
            processes.terminate(identity)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while processes.find(identity) and time.monotonic() < deadline:
                time.sleep(0.05)
            processes.kill(identity)
        self._file.unlink(missing_ok=True)
        return left

    @property
    def _file(self) -> Path:
        return self.run_dir / "children.json"

    def _remember(self) -> None:
        records = []
        for child in self.children:
            identity = (
                processes.identify(child.process.pid)
                if child.process is not None and child.is_alive
                else None
            )
            if identity is not None:
                records.append(
                    {
                        "name": child.name,
                        "pid": identity.pid,
                        "started_at": identity.started_at,
                        "boot_id": identity.boot_id,
                    }
                )
        temporary = self._file.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(records))
            temporary.replace(self._file)
        except OSError as error:  # a full disk keeps nothing from being stopped
            log.warning("What runs cannot be kept in %s: %s", self._file, error)
