"""A web server on the test's own database, as `make run` starts it, but for its worker."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

from magi_site.processes import web_command
from tests.ports import free_port

PATIENCE_S = 60.0  # a watchdog, far above what anything takes
PAUSE_S = 0.05


@contextmanager
def site(folder: Path, **environment: str) -> Iterator[str]:
    """Serve it, and give its address; its log is in `folder`."""
    port = free_port()
    command = web_command("127.0.0.1", port)[1:]
    command += ["--application", "tests.api.scripted_site:application"]
    log = folder / "web.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DATABASE_URL": _database_url(),
                "MAGI_DATA_DIR": str(folder),
                "MAGI_SECRET_KEY": settings.SECRET_KEY,  # sessions are signed with it
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def _database_url() -> str:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text(errors="replace")
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310
            return
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(PAUSE_S)
