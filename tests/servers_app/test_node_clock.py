"""The clock of a node: what it queues, when, and what becomes of it without a queue."""

import json
import logging
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis

from servers_app.node_clock import NodeClock
from servers_app.tasks import reconcile
from tests.redis_server import RedisServer

SCHEDULE = {"servers_app.tasks.reconcile": 5, "servers_app.tasks.measure": 30}


class Clock:
    """Monotonic seconds, which only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(redis_server: RedisServer, settings: Settings, celery_on: None) -> Redis:
    settings.MAGI_NODE = "box2"
    return Redis.from_url(redis_server.url)


@pytest.fixture
def celery_on(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Celery use the test's Redis."""
    url = redis_server.url.replace("unix://", "redis+socket://")
    monkeypatch.setattr(reconcile.app.conf, "broker_url", url)
    monkeypatch.setattr(reconcile.app.conf, "broker_write_url", url)


def queued(queue: Redis) -> list[str]:
    """Return the tasks that were queued for the node since, the first one first."""
    names = []
    while (message := queue.rpop("node.box2")) is not None:
        assert isinstance(message, bytes)
        headers = json.loads(message)["headers"]
        assert headers["argsrepr"] == "('box2',)"
        assert headers["expires"], "a worker that was busy runs no backlog"
        names.append(headers["task"].rsplit(".", 1)[1])
    return names


def test_what_is_due_is_on_the_queue_of_its_own_node(queue: Redis, clock: Clock) -> None:
    node_clock = NodeClock(SCHEDULE, clock=clock)

    node_clock.tick()
    assert queued(queue) == ["reconcile", "measure"]

    clock.now += 4
    node_clock.tick()
    assert queued(queue) == []

    clock.now += 1
    node_clock.tick()
    assert queued(queue) == ["reconcile"]

    clock.now += 25
    node_clock.tick()
    assert queued(queue) == ["reconcile", "measure"]


def test_what_is_seldom_done_is_not_done_at_each_start(queue: Redis, clock: Clock) -> None:
    node_clock = NodeClock({"servers_app.tasks.measure": 3600}, clock=clock)

    node_clock.tick()
    assert queued(queue) == []

    clock.now += 3600
    node_clock.tick()
    assert queued(queue) == ["measure"]


def test_without_redis_nothing_is_raised_and_what_was_due_is_queued_later(
    queue: Redis,
    clock: Clock,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="servers_app.node_clock")
    node_clock = NodeClock(SCHEDULE, clock=clock)
    redis_server.kill()

    node_clock.tick()
    node_clock.tick()
    redis_server.start()
    node_clock.tick()

    assert queued(queue) == ["reconcile", "measure"]
    failed, works = caplog.messages
    assert failed.startswith("Nothing can be queued; it is tried again: ")
    assert works == "The queue takes tasks again"


def test_every_task_of_the_schedule_is_there_and_takes_the_nodes_name(
    settings: Settings,
) -> None:
    app = reconcile.app
    app.loader.import_default_modules()

    for name, seconds in settings.NODE_SCHEDULE.items():
        assert seconds > 1, "it expires a second before"
        task: Any = app.tasks[name]
        task.__header__("box2")  # raises where it takes no such argument


def test_what_is_once_for_all_of_magi_is_on_no_nodes_queue(settings: Settings) -> None:
    assert settings.CELERY_TASK_DEFAULT_QUEUE == "cluster"
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert "queue" not in entry.get("options", {})
        assert entry["task"] not in settings.NODE_SCHEDULE
