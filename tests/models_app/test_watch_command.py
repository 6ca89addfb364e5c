"""`manage.py watch`: a process of its own, over a database and a Redis of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from redis import Redis

from tests.redis_server import PATIENCE_S, RedisServer


@pytest.fixture
def environment(tmp_path: Path, redis_server: RedisServer) -> dict[str, str]:
    root = tmp_path / "models"
    root.mkdir()
    return {
        **os.environ,
        "MAGI_DATA_DIR": str(tmp_path / "data"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'magi.sqlite3'}",
        "REDIS_URL": redis_server.url,
        "MODEL_SCAN_PATH": str(root),
    }


@pytest.fixture
def watching(
    environment: dict[str, str], tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, over a registry that knows its root."""
    for command in ("migrate", "rescan"):
        subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=django_settings.BASE_DIR,
            env=environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
    with (tmp_path / "watch.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "watch"],
            cwd=django_settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        yield process
        process.kill()
        process.wait()


def until(is_so: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_it_asks_for_a_rescan_when_a_model_lands_outlives_redis_and_ends_when_told(
    watching: "subprocess.Popen[bytes]", redis_server: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "watch.log"

    def queued() -> int:
        with Redis.from_url(redis_server.url) as redis:
            length = redis.llen("node.local")
        assert isinstance(length, int)
        return length

    until(lambda: queued() == 1, log)  # for what landed before it came
    (tmp_path / "models" / "Qwen3-4B-Q4_K_M.gguf").write_bytes(b"GGUF")
    until(lambda: queued() == 2, log)

    redis_server.kill()
    (tmp_path / "models" / "Qwen3-8B-Q4_K_M.gguf").write_bytes(b"GGUF")
    until(lambda: "The queue (Redis) cannot be reached" in log.read_text(), log)
    redis_server.start()  # it has forgotten everything
    until(lambda: queued() == 1, log)

    watching.send_signal(signal.SIGTERM)
    assert watching.wait(PATIENCE_S) == 0
