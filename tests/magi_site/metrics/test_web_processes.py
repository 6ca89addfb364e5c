"""Two real web processes of one machine: whichever is asked tells of both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.magi_site.metrics.conftest import samples_of
from tests.magi_site.metrics.web_processes import Machine, Web, machine_in
from tests.redis_server import RedisServer

CHAT = "/v1/chat/completions"
HOSTILE = ('no "} such\n model 9', "evil\\", "\u0000", "x" * 10_000, "\U0001f600")


@pytest.fixture
def machine(tmp_path: Path, redis_server: RedisServer) -> Iterator[Machine]:
    with machine_in(tmp_path, redis_server.url) as machine:
        yield machine


def ask_for(web: Web, *names: str) -> None:
    for name in names:
        status, _body = web.ask(CHAT, json.dumps({"model": name, "messages": []}).encode())
        assert status == 404


def scraped(web: Web) -> dict[str, float]:
    """Return the values of some figures, their labels left out."""
    status, text = web.ask("/metrics")
    assert status == 200
    wanted = ("magi_requests_total", "magi_web_processes", "magi_request_errors_total")
    samples = samples_of(text)
    return {
        name: sum(value for (of, _labels), value in samples.items() if of == name)
        for name in wanted
    }


def test_counters_add_up_and_outlive_a_process_that_is_killed_and_gauges_do_not(
    machine: Machine,
) -> None:
    one, other = machine.start_web(), machine.start_web()
    ask_for(one, *HOSTILE)
    ask_for(other, "made-up", "made-up-too")
    # What another has counted is known within a second.
    machine.magi.until(lambda: scraped(one)["magi_requests_total"] == 7)
    machine.magi.until(lambda: scraped(other)["magi_requests_total"] == 7)
    alive = [scraped(one), scraped(other)]

    machine.kill(other)
    bereft = scraped(one)
    again = machine.start_web()
    ask_for(again, "made-up")

    requests = {"magi_requests_total": 7.0, "magi_request_errors_total": 7.0}
    assert alive == [{**requests, "magi_web_processes": 2.0}] * 2
    assert bereft == {**requests, "magi_web_processes": 1.0}
    machine.magi.until(lambda: scraped(one)["magi_requests_total"] == 8)
    assert scraped(again)["magi_web_processes"] == 2
    # Of each that lives its counts and its lock, of the dead their sum, and a lock for all.
    assert len(list((machine.folder / "data" / "run" / "metrics").iterdir())) <= 6


def test_names_that_clients_make_up_are_in_no_series(machine: Machine) -> None:
    web = machine.start_web()

    ask_for(web, *HOSTILE, *(f"made-up-{number}" for number in range(30)))

    _status, text = web.ask("/metrics")
    labels = [dict(of) for (name, of) in samples_of(text) if name == "magi_requests_total"]
    assert labels == [{"model": "(none)", "tier": "(none)", "outcome": "refused"}]
    assert "made-up" not in text
