"""A web process as MAGI runs it, on the test's own database; several make a deployment."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

from magi_site.processes import runnable, web_command
from tests.ports import free_port

PATIENCE_S = 90.0  # a watchdog, far above what anything takes
HOST = "127.0.0.1"


def database_url() -> str:
    """Return where the test's database is, for a process of its own."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


@dataclass
class WebProcess:
    """It keeps its port from one start to the next. Its log is in `folder`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "web.log").read_text(errors="replace")

    def launch(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "web.log").open("ab") as log:
            self.process = subprocess.Popen(
                runnable(web_command(HOST, self.port)),
                cwd=settings.BASE_DIR,
                env={
                    **os.environ,
                    "MAGI_DATA_DIR": str(self.folder),
                    "MAGI_SECRET_KEY": settings.SECRET_KEY,  # sessions are signed with it
                    "MAGI_API_AUTH": "off",
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start(self) -> None:
        """Launch it, and return when it takes requests."""
        self.launch()
        self.until_ready(200)

    def until_ready(self, status: int) -> None:
        """Wait until that is what it answers at /ready."""
        deadline = time.monotonic() + PATIENCE_S
        while self.readiness() != status:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def readiness(self) -> int:
        """Return the status of /ready; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:  # noqa: S310
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return its exit status when it has ended."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
