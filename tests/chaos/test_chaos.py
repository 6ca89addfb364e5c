"""Everything is killed or paused at random while requests go through; nothing is lost.

Longer with `pytest tests/chaos --chaos-seconds 1800`; `--chaos-seed` repeats a run.
"""

import random
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.strikes import KEEPER, processes_of, strike
from tests.chaos.traffic import Traffic
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

MODEL_ID = "smollm2_135m_q41_fast"
REPLICAS = 2
LOG_CHARS = 4000
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
            done.append(strike(magi, chance))
    finally:
        traffic.stop()
    story = f"seed {seed}: {done}; {dict(traffic.outcomes)}"

    assert traffic.broken == [], story
    assert traffic.outcomes["whole"] > 0, story
    _until_as_wanted(magi, story)
    assert traffic.ask(is_streamed=True, tokens=8) == "whole", story
    assert len(processes_of(magi, KEEPER)) == REPLICAS, story
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


def _is_as_wanted(magi: Magi) -> bool:
    """Whether what is wanted runs, and the API says so.

    The API alone may still tell of a server that was killed while nobody could look.
    """
    try:
        answer = magi.get("/api/models/servers")
    except OSError:
        return False  # the web server is just being started again
    if not answer["ready_servers"] == answer["total_servers"] == REPLICAS:
        return False
    pids = {process.pid for process in processes_of(magi, "server")}
    return pids == {server["pid"] for server in answer["servers"]}


def _servers(magi: Magi) -> list[dict[str, int]]:
    servers: list[dict[str, int]] = magi.get("/api/models/servers")["servers"]
    return servers


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


def _until_as_wanted(magi: Magi, story: str) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while not _is_as_wanted(magi):
        assert time.monotonic() < deadline, f"{story}\n{_told_by(magi)}"
        time.sleep(0.5)


def _told_by(magi: Magi) -> str:
    """Return what MAGI says of its servers, and the end of each log."""
    logs = sorted((magi.data_dir / "data" / "logs").glob("*.log"))
    ends = [f"{log.name}:\n{log.read_text(errors='replace')[-LOG_CHARS:]}" for log in logs]
    servers = magi.run_command("servers", "list", "--json")
    return "\n".join([servers.stdout or servers.stderr, magi.said, *ends])
