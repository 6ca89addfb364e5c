"""Upgrade a MAGI that serves: what failed meanwhile?

    python benchmarks/upgrade.py OLD_TREE --database postgres://… --redis redis://… --models DIR

Two web processes behind haproxy, a worker and a llama-server of the MAGI in OLD_TREE; clients
that chat, read and write all the time. Then `manage.py setup` of this MAGI, and one process
after the other restarted with it. The database is emptied first.

Needs haproxy, and a database and a Redis of their own. What is printed is in docs/upgrading.md.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

NEW = Path(__file__).resolve().parent.parent
PATIENCE_S = 180.0
HAPROXY = """
global
defaults
    mode http
    option redispatch
    retries 3
    retry-on conn-failure
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend magi
    bind 127.0.0.1:{port}
    default_backend web
backend web
    balance leastconn
    option httpchk
    http-check send meth GET uri /ready ver HTTP/1.1 hdr Host localhost
    # An older MAGI has no /ready, and says 404.
    http-check expect rstatus ^(200|404)$
    default-server inter 1s fall 2 rise 1
    server a 127.0.0.1:{a} check
    server b 127.0.0.1:{b} check
"""


class Site:
    """The processes of one MAGI, of which some may be of another version than the others."""

    def __init__(self, folder: Path, base_port: int, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = base_port
        self.environment = {
            **os.environ,
            **environment,
            "MAGI_DATA_DIR": str(folder / "data"),
            "MODEL_PORT_RANGE_START": str(base_port + 10),
            "MODEL_PORT_RANGE_END": str(base_port + 19),
            "MAGI_DRAIN_SECONDS": "4",
            "MAGI_SHUTDOWN_SECONDS": "20",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, tree: Path, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=tree,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"{arguments} failed:\n{done.stdout}{done.stderr}"
            raise SystemExit(msg)
        return done.stdout

    def start(self, name: str, tree: Path, command: list[str]) -> None:
        argv = [sys.executable, *command[1:]] if command[0] == "python" else command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                cwd=tree,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)

    def start_web(self, name: str, tree: Path) -> None:
        port = self.port + {"web-a": 1, "web-b": 2}[name]
        self.start(name, tree, self._of(tree, "web_command", "127.0.0.1", port))
        until(lambda: call(f"http://127.0.0.1:{port}/health")[0] == 200)

    def start_worker(self, tree: Path) -> None:
        self.start("worker", tree, self._of(tree, "worker_command", "local"))
        self.start("beat", tree, self._of(tree, "beat_command"))

    def _of(self, tree: Path, name: str, *arguments: object) -> list[str]:
        code = (
            "import django, json; django.setup(); from magi_site import processes; "
            f"print(json.dumps(processes.{name}(*{arguments!r})))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tree,
            env={**self.environment, "DJANGO_SETTINGS_MODULE": "magi_site.settings"},
            capture_output=True,
            check=True,
        )
        command: list[str] = json.loads(done.stdout)
        return command


class Clients:
    """Those who chat, read and write all the time."""

    def __init__(self, url: str, model_id: str) -> None:
        self._url = url
        self._done = threading.Event()
        self.phase = "before"
        self.answers: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        chat = {
            "model": model_id,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 4,
        }
        calls: list[tuple[str, str, str, Any]] = [
            ("chat", "POST", "/v1/chat/completions", chat),
            ("models", "GET", "/v1/models", None),
            ("registry", "GET", "/api/models/registry", None),
            ("write", "PUT", f"/api/models/{model_id}/tier", {"tier": "balanced"}),
            ("back", "PUT", f"/api/models/{model_id}/tier", {"tier": None}),
            ("page", "GET", "/admin/login/", None),
        ]
        self._threads = [threading.Thread(target=self._run, args=each) for each in calls]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, method: str, path: str, body: Any) -> None:
        while not self._done.wait(0.05):
            phase = self.phase
            status, text = call(self._url + path, method, body)
            self.answers[phase, name] += 1
            if status != 200:
                self.failures.append(f"{phase}: {method} {path}: {status} {text[:200]}")


def call(url: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
    """Return the status and the text of an answer; 0 and why, if there was none."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, repr(error)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            msg = "it never came true"
            raise SystemExit(msg)
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("--database", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--port", type=int, default=24000)
    options = parser.parse_args()
    with psycopg.connect(options.database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    folder = Path(tempfile.mkdtemp(prefix="magi-upgrade-"))
    environment = {
        "DATABASE_URL": options.database,
        "REDIS_URL": options.redis,
        "MODEL_SCAN_PATH": options.models,
        "LLAMA_SERVER_PATH": "embedded",
    }
    site = Site(folder, options.port, environment)
    try:
        run(site, options.old.resolve())
    finally:
        for name in ("web-a", "web-b", "beat", "worker", "haproxy"):
            if name in site.processes:
                site.stop(name)
        site.command(NEW, "park", "--no-check", "--drain", "1")
        shutil.rmtree(folder)


def run(site: Site, old: Path) -> None:  # noqa: PLR0915 - one step after the other
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)  # noqa: T201

    site.command(old, "setup")
    site.command(old, "rescan")
    site.command(old, "profiles", "activate", "fast-only", "--force")
    url = f"http://127.0.0.1:{site.port}"
    (site.folder / "haproxy.cfg").write_text(
        HAPROXY.format(port=site.port, a=site.port + 1, b=site.port + 2)
    )
    site.start("haproxy", old, ["haproxy", "-f", str(site.folder / "haproxy.cfg")])
    site.start_worker(old)
    site.start_web("web-a", old)
    site.start_web("web-b", old)
    until(lambda: call(f"{url}/api/models/registry")[0] == 200)
    model_id = next(iter(json.loads(call(f"{url}/api/models/registry")[1])["models"]))
    until(
        lambda: call(f"{url}/api/models/{model_id}/enabled", "PUT", {"enabled": True})[0] < 300
    )
    server = f"{url}/api/models/servers/{model_id}"
    until(lambda: json.loads(call(server)[1]).get("state") == "ready")
    pid = json.loads(call(server)[1])["pid"]
    say(f"the old MAGI serves; llama-server {pid}")
    clients = Clients(url, model_id)
    clients.start()
    try:
        time.sleep(5)
        clients.phase = "while the database is migrated"
        site.command(NEW, "setup")
        say("migrated")
        clients.phase = "old over the new database"
        time.sleep(8)
        for name in ("web-a", "web-b"):
            clients.phase = f"{name} is restarted"
            site.stop(name)
            site.start_web(name, NEW)
            say(f"{name} is of the new MAGI")
            time.sleep(4)
        clients.phase = "the worker is restarted"
        site.stop("beat")
        site.stop("worker")
        site.start_worker(NEW)
        time.sleep(12)
        say("worker and beat are of the new MAGI")
        clients.phase = "after"
        time.sleep(4)
    finally:
        clients.stop()
    now = json.loads(call(server)[1])
    say(f"llama-server {now['pid']}, {now['state']}")
    for (phase, name), count in sorted(clients.answers.items()):
        print(f"{phase:32} {name:9} {count:5}")  # noqa: T201
    print(f"{sum(clients.answers.values())} requests, {len(clients.failures)} failed")  # noqa: T201
    for failure in clients.failures[:10]:
        print(failure)  # noqa: T201
    if clients.failures or now["pid"] != pid:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
