"""A real Redis server for a test, which can be killed and started again."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError

from magi_site.embedded_redis import redis_argv

PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@dataclass
class RedisServer:
    run_dir: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"unix://{self.run_dir / 'redis.sock'}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.process = subprocess.Popen(
            redis_argv(self.run_dir), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Have it answer nobody, and go on afterwards."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as redis:
                return bool(redis.ping())
        except (RedisError, OSError):
            return False
