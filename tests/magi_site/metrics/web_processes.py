"""Real web processes of one machine: the same data folder, the same database."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from tests.e2e.magi import Magi, magi_in


@dataclass
class Web:
    """One web process, and what it writes into its log."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def ask(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Return the status and the body of what it answers."""
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(
            f"http://localhost:{self.port}{path}", data=body, headers=given
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        return self.ask("/health")[0] == 200


@dataclass
class Machine:
    """A machine that runs web processes."""

    magi: Magi
    folder: Path
    redis_url: str
    webs: list[Web] = field(default_factory=list)

    def start_web(self, **environment: str) -> Web:
        port = int(self.magi.environment["MAGI_PORT"]) + len(self.webs)
        log = self.folder / f"web-{len(self.webs)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "magi_site.web"),
                    *("--host", "127.0.0.1"),
                    *("--port", str(port)),
                ],
                cwd=settings.BASE_DIR,
                env={**self.magi.environment, "REDIS_URL": self.redis_url, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        web = Web(port, log, process)
        self.webs.append(web)
        self.magi.until(web.answers)
        return web

    def kill(self, web: Web) -> None:
        os.kill(web.process.pid, signal.SIGKILL)
        web.process.wait()


@contextmanager
def machine_in(folder: Path, redis_url: str) -> Iterator[Machine]:
    """Give a machine with an empty database; leave nothing of it."""
    with magi_in(folder) as magi:
        migrated = magi.run_command("migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        machine = Machine(magi, folder, redis_url)
        try:
            yield machine
        finally:
            for web in machine.webs:
                if web.process.poll() is None:
                    web.process.terminate()
                    web.process.wait(60)
