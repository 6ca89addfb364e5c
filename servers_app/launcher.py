"""Start one llama-server under its keeper, and read what the keeper writes.

Each server has a folder, `MAGI_DATA_DIR/servers/ID/`: the keeper's lock, who runs
(`process.json`), how it ended (`exit.json`), and an empty configuration folder.
"""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers_app import logs
from servers_app.engine.asking import scrubbed_environment
from servers_app.engine.binary import Engine
from servers_app.errors import LaunchError
from servers_app.keeper import CANNOT_RUN, NOT_FOUND
from servers_app.keys import server_key
from servers_app.processes import identify

KEEPER = Path(__file__).with_name("keeper.py")
KEEPER_ANSWER_TIMEOUT_S = 20  # it answers in tens of milliseconds
ALREADY_KEPT = os.EX_TEMPFAIL

server_dir = logs.server_dir
log_path = logs.log_path
log_tail = logs.tail


@dataclass(frozen=True, slots=True)
class Kept:
    """A llama-server and the keeper that is its parent.

    A start time is Unix time in seconds, and None for one that has ended already.
    """

    pid: int
    started_at: float | None
    keeper_pid: int
    keeper_started_at: float | None

    @property
    def is_running(self) -> bool:
        return self.started_at is not None


@dataclass(frozen=True, slots=True)
class Exit:
    returncode: int  # negative: the signal that ended it
    ended_at: float  # Unix time, seconds
    max_rss_bytes: int
    oom_kills: int = 0  # in its cgroup while it ran, its own among them


def launch(server_id: int, engine: Engine, argv: list[str]) -> bool:
    """Start `argv` under a keeper.

    Returns:
        Whether a process was started: False when this server has a keeper already,
        so that two launches at once, or one after a crash, never make two servers.

    Raises:
        LaunchError: the program could not be run, or its keeper came to no answer; then
            it may run all the same, and who launches it again meets it.
    """
    folder = server_dir(server_id)
    config = folder / "config"
    command = [sys.executable, "-I", "-S", str(KEEPER), str(folder), "--", *argv]
    try:
        config.mkdir(mode=0o700, parents=True, exist_ok=True)
        with logs.opened_for_launch(server_id, argv) as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(server_id, config),
                cwd=engine.cwd,
                timeout=KEEPER_ANSWER_TIMEOUT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"llama-server was not started: {error}"
        raise LaunchError(msg) from error
    if done.returncode == ALREADY_KEPT:
        return False
    if done.returncode != 0:
        said = logs.since_last_launch(server_id) or "its keeper was killed."
        msg = f"{argv[0]} was not started: {said}"
        raise LaunchError(msg, is_permanent=done.returncode in {CANNOT_RUN, NOT_FOUND})
    return True


def read_kept(server_id: int) -> Kept:
    """Return who runs, as the keeper wrote it down and as the system knows them.

    Raises:
        LaunchError: the keeper's file is missing or cannot be read.
    """
    path = server_dir(server_id) / "process.json"
    record = _read_json(path)
    if record is None:
        msg = f"The keeper of this server left no {path.name}. Start it again."
        raise LaunchError(msg)
    server, keeper = identify(record["pid"]), identify(record["keeper_pid"])
    return Kept(
        pid=record["pid"],
        started_at=server.started_at if server else None,
        keeper_pid=record["keeper_pid"],
        keeper_started_at=keeper.started_at if keeper else None,
    )


def read_exit(server_id: int, pid: int | None) -> Exit | None:
    """Return how process `pid` ended, if its keeper lived to write it."""
    record = _read_json(server_dir(server_id) / "exit.json")
    if record is None or (pid is not None and record["pid"] != pid):
        return None
    return Exit(
        record["returncode"],
        record["ended_at"],
        record["max_rss_bytes"],
        record.get("oom_kills", 0),  # a keeper of an earlier MAGI may still run
    )


def _environment(server_id: int, config: Path) -> dict[str, str]:
    # llama-server reads $XDG_CONFIG_HOME/llama.cpp/config.ini; it shall find none.
    return scrubbed_environment() | {
        "XDG_CONFIG_HOME": str(config),
        "LLAMA_API_KEY": server_key(server_id),
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record


def is_kept(server_id: int) -> bool:
    """Whether a keeper, or a server that has lost its keeper, holds this server's lock."""
    try:
        lock = os.open(server_dir(server_id) / "keeper.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
