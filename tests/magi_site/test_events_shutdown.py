"""The web server as `make run` runs it, and its end while somebody listens."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from magi_site.processes import runnable, web_command
from tests.ports import free_port
from tests.redis_server import PATIENCE_S, RedisServer


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def web(
    tmp_path: Path, redis_server: RedisServer, port: int
) -> Iterator["subprocess.Popen[bytes]"]:
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            runnable(web_command("127.0.0.1", port)),
            cwd=django_settings.BASE_DIR,
            env={
                **os.environ,
                "MAGI_DATA_DIR": str(tmp_path / "data"),
                "DATABASE_URL": f"sqlite:///{tmp_path / 'magi.sqlite3'}",
                "REDIS_URL": redis_server.url,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        yield process
        process.kill()
        process.wait()


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def listening(port: int) -> Iterator[http.client.HTTPResponse]:
    """Call as soon as the server is there."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_taken(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    ) as connection:
        connection.request("GET", "/api/events")
        with connection.getresponse() as response:
            yield response


def test_open_streams_end_cleanly_when_the_server_is_told_to_stop(
    web: "subprocess.Popen[bytes]", tmp_path: Path, port: int
) -> None:
    with listening(port) as response:
        assert response.readline() == b"retry: 2000\n"

        web.terminate()
        rest = response.read()  # to its end: a stream that is cut off raises

    web.wait(PATIENCE_S)
    assert rest.startswith(b"\nid: ")
    assert rest.endswith(b"\n\n")
    assert "timeout graceful shutdown exceeded" not in (tmp_path / "web.log").read_text()
