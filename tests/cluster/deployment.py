"""MAGI on four hosts: PostgreSQL and Redis on one, two workers, web and beat on the fourth."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx2
import psycopg
from redis import Redis, RedisError

from magi_site.embedded_redis import redis_argv
from magi_site.processes import beat_command, runnable, web_command, worker_command
from tests.cluster.hosts import NET, Host, until
from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]
WEB_PORT, REDIS_PORT, POSTGRES_PORT = 8000, 6379, 5432
REPO, COMMIT = "models--HuggingFaceTB--SmolLM2-135M-Instruct-GGUF", "0" * 40
TIMEOUT_S = 90
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass
class Deployment:
    """Made and started inside the namespaces of `alone.py`, with which it ends."""

    folder: Path
    model: Path  # a GGUF file
    has_model: tuple[str, ...] = ("b", "c")  # the nodes that have it

    def __post_init__(self) -> None:
        names = ("db", "a", "b", "c")
        self.hosts = {name: Host(name, number) for number, name in enumerate(names, start=2)}
        self.base_url = f"http://{self.hosts['a'].address}:{WEB_PORT}"
        self.web = httpx2.Client(base_url=self.base_url, timeout=TIMEOUT_S)
        self.browser = httpx2.Client(
            base_url=self.base_url, timeout=TIMEOUT_S, follow_redirects=True
        )
        (self.folder / "profiles").mkdir()
        for name in self.hosts:
            self.hub_of(name).mkdir(parents=True)
        for name in self.has_model:
            snapshot = self.hub_of(name) / REPO / "snapshots" / COMMIT
            snapshot.mkdir(parents=True)
            # Another inode on each host, as on disks of their own.
            (snapshot / self.model.name).write_bytes(self.model.read_bytes())

    def start(self) -> None:
        """Start everything, and return when web server and workers are there."""
        db = self.hosts["db"]
        PostgresServer(
            self.folder / "db", POSTGRES_PORT, db.address, f"{NET}.0/24", db.inside
        ).start()
        listen = ["--bind", db.address, "--port", str(REDIS_PORT), "--protected-mode", "no"]
        self._launch("db", "redis", [*redis_argv(self.folder / "db"), *listen])
        until(self._redis_answers, "Redis answers")
        self.manage("setup")
        self._launch("a", "web", web_command(self.hosts["a"].address, WEB_PORT))
        self._launch("a", "beat", beat_command())
        for name in ("b", "c"):
            self.start_worker(name)
        until(lambda: self.web.get("/health").is_success, "the web server answers")

    def start_worker(self, name: str) -> None:
        self._launch(name, "worker", worker_command(name))

    def manage(self, *arguments: str, on: str = "a") -> str:
        """Run a command of manage.py on a host; return what it said."""
        return self.hosts[on].run(
            [sys.executable, str(ROOT / "manage.py"), *arguments], self.environment_of(on)
        )

    def get(self, path: str) -> Any:
        return self.web.get(path).raise_for_status().json()

    def post(self, path: str, body: object = None) -> Any:
        answer = self.web.post(path, json={} if body is None else body)
        assert answer.is_success, f"POST {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def sign_in(self) -> None:
        """Sign in to the admin as its first account."""
        password = (self.folder / "a" / "data" / "admin_password").read_text().strip()
        self.submit("/admin/login/?next=/admin/", username="admin", password=password)

    def submit(self, path: str, *, to: str = "", **fields: str) -> str:
        """Send the form of a page of the admin, as a browser without scripts does.

        Args:
            to: where the form goes, if not to its page.
        """
        page = self.browser.get(path).raise_for_status()
        token = _TOKEN.search(page.text)
        assert token, f"{path} has no form"
        answer = self.browser.post(to or path, data={"csrfmiddlewaretoken": token[1], **fields})
        return answer.raise_for_status().text

    def servers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the servers as the API tells of them, by node."""
        by_node: dict[str, list[dict[str, Any]]] = {}
        for server in self.get("/api/models/servers")["servers"]:
            by_node.setdefault(server["node"], []).append(server)
        return by_node

    def query(self, select: LiteralString) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._database_url) as connection:
            return connection.execute(select).fetchall()

    @property
    def _database_url(self) -> str:
        return f"postgres://magi@{self.hosts['db'].address}:{POSTGRES_PORT}/postgres"

    def hub_of(self, name: str) -> Path:
        return self.folder / name / "hub"

    def environment_of(self, name: str) -> dict[str, str]:
        db, host = self.hosts["db"], self.hosts[name]
        return {
            **os.environ,
            "DATABASE_URL": self._database_url,
            "REDIS_URL": f"redis://{db.address}:{REDIS_PORT}/0",
            "HF_HUB_CACHE": str(self.hub_of(name)),
            "MODEL_SCAN_PATH": str(self.hub_of(name)),
            "LLAMA_SERVER_PATH": "embedded",
            "MAGI_ENV_FILE": os.devnull,
            "MAGI_DATA_DIR": str(self.folder / name / "data"),
            "MAGI_PROFILES_DIR": str(self.folder / "profiles"),
            "MAGI_SECRET_KEY": "the same on all hosts" * 3,
            "MAGI_NODE": name,
            "MAGI_NODE_ADDRESS": host.address,
            "MAGI_HOST": host.address,
            "MAGI_ALLOWED_HOSTS": host.address,
            "MAGI_API_AUTH": "off",
        }

    def _launch(self, host: str, name: str, command: list[str]) -> None:
        self.hosts[host].start(
            name,
            runnable(command),
            self.environment_of(host),
            ROOT,
            self.folder / host / f"{name}.log",
        )

    def _redis_answers(self) -> bool:
        try:
            with Redis(host=self.hosts["db"].address, port=REDIS_PORT) as redis:
                return bool(redis.ping())
        except RedisError:
            return False
