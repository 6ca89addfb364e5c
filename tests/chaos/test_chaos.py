"""Everything is killed or paused at random while requests go through; nothing is lost.

Longer with `pytest tests/chaos --chaos-seconds 1800`; `--chaos-seed` repeats a run.
"""

import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.chaos.traffic import Traffic
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

MODEL_ID = "smollm2_135m_q41_fast"
REPLICAS = 2
RECOVERY_S = 180  # the longest pauses of the restart policy and of `run`, and a load
PROFILE = f"""
name: Chaos
enabled_models:
  - {{model_id: {MODEL_ID}, replicas: {REPLICAS}}}
run_settings: {{ctx_size: 2048, parallel: 2, threads: 1}}
load_balancing: {{health_check_interval: 2}}
lifecycle: {{drain_seconds: 5}}
"""


def test_whatever_dies_in_the_end_all_is_as_it_was_wanted(
    stopped_magi: Magi, smollm2: Path, request: pytest.FixtureRequest
) -> None:
    seconds: float = request.config.getoption("--chaos-seconds")
    seed: int = request.config.getoption("--chaos-seed") or random.randrange(2**32)
    chance = random.Random(seed)
    magi = _with_profile(stopped_magi, smollm2)
    magi.start()
    traffic = Traffic(magi.base_url, MODEL_ID, seed)
    traffic.start()
    done: list[str] = []
    try:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            time.sleep(chance.uniform(0.5, 4))
            done.append(_strike(magi, chance))
    finally:
        traffic.stop()
    story = f"seed {seed}: {done}; {dict(traffic.outcomes)}"

    assert traffic.broken == [], story
    assert traffic.outcomes["whole"] > 0, story
    _until(lambda: _is_as_wanted(magi), story)
    assert traffic.ask(is_streamed=True, tokens=8) == "whole", story
    assert _engines(magi) == {server["pid"] for server in _servers(magi)}, story
    assert len(_keepers(magi)) == REPLICAS, story
    assert not _zombies(magi), story
    ports = {server["port"] for server in _servers(magi)}
    assert len(ports) == REPLICAS
    assert all(_is_free(port) for port in _port_range(magi) if port not in ports), story

    assert magi.stop() == 0, story
    assert magi.processes() == [], story
    assert all(map(_is_free, _port_range(magi))), story


def _with_profile(magi: Magi, smollm2: Path) -> Magi:
    profiles = magi.data_dir / "profiles"
    profiles.mkdir()
    (profiles / "chaos.yaml").write_text(PROFILE)
    magi.environment |= {
        "MAGI_PROFILES_DIR": str(profiles),
        "MAGI_PROFILE": "chaos",
        "MODEL_SCAN_PATH": str(smollm2.parent),
        "MODEL_RESTART_LIMIT": "1000",
    }
    return magi


def _strike(magi: Magi, chance: random.Random) -> str:
    """Kill or pause one part of MAGI; return what was done to whom."""
    victims: dict[str, Callable[[], list[psutil.Process]]] = {
        "server": lambda: _named(magi, "servers_app.engine.embedded"),
        "keeper": lambda: _keepers(magi),
        "worker": lambda: _named(magi, "worker"),
        "beat": lambda: _named(magi, "beat"),
        "web": lambda: _named(magi, "uvicorn"),
        "redis": lambda: [
            process for process in magi.processes() if "redis.sock" in _title(process)
        ],
    }
    name = chance.choice(list(victims))
    found = victims[name]()
    if not found:
        return f"no {name}"
    victim = chance.choice(found)
    with suppress(psutil.NoSuchProcess):
        if chance.random() < 0.6:
            victim.send_signal(signal.SIGKILL)
            return f"killed {name}"
        victim.send_signal(signal.SIGSTOP)
        try:
            time.sleep(chance.uniform(0.5, 3))
        finally:
            victim.send_signal(signal.SIGCONT)
        return f"paused {name}"
    return f"{name} was gone"


def _is_as_wanted(magi: Magi) -> bool:
    """Whether what is wanted runs, by what the API says of it."""
    try:
        servers = magi.get("/api/models/servers")
    except OSError:
        return False  # the web server is just being started again
    return bool(servers["ready_servers"] == servers["total_servers"] == REPLICAS)


def _servers(magi: Magi) -> list[dict[str, int]]:
    servers: list[dict[str, int]] = magi.get("/api/models/servers")["servers"]
    return servers


def _engines(magi: Magi) -> set[int]:
    return {process.pid for process in _named(magi, "servers_app.engine.embedded")}


def _keepers(magi: Magi) -> list[psutil.Process]:
    return [process for process in magi.processes() if "keeper.py" in _title(process)]


def _named(magi: Magi, word: str) -> list[psutil.Process]:
    """Return those whose command line has the word, keepers of such a one left out."""
    return [
        process
        for process in magi.processes()
        if word in _title(process).split() and "keeper.py" not in _title(process)
    ]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _zombies(magi: Magi) -> list[psutil.Process]:
    """Return the dead children that a process of ours has not reaped."""
    return [
        child
        for process in magi.processes()
        for child in process.children()
        if child.status() == psutil.STATUS_ZOMBIE
    ]


def _port_range(magi: Magi) -> range:
    first, last = (int(magi.environment[f"MODEL_PORT_RANGE_{end}"]) for end in ("START", "END"))
    return range(first, last + 1)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _until(holds: Callable[[], bool], story: str) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while not holds():
        assert time.monotonic() < deadline, story
        time.sleep(0.5)
