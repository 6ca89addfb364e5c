"""Who hands work to a worker is told at once that there is none, or no Redis.

"At once" is tested by its cause: nothing is tried twice, so nobody sleeps between two tries.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from redis import Redis

from magi_site.datadir import broker_url
from magi_site.processes import runnable, worker_command
from models_app.broker import PolledResults
from models_app.errors import NoWorkerError, QueueUnavailableError
from models_app.queue import (
    enqueue,
    is_done_within,
    require_worker,
    task_meta,
    without_worker,
)
from tests.redis_server import PATIENCE_S, RedisServer

NODE = "here"
ECHO: Any = current_app.tasks["celery.accumulate"]  # gives back its arguments


@contextmanager
def queue_over(server: RedisServer) -> Iterator[None]:
    """Have Celery use that Redis within this process."""
    with pytest.MonkeyPatch.context() as patch:
        app: Any = current_app._get_current_object()  # type: ignore[attr-defined]
        url = broker_url(server.url)
        results = PolledResults(app=app, url=url.removeprefix("redis+"))
        patch.setitem(app.conf, "broker_url", url)
        patch.setattr(app, "_backend_cache", results)
        yield
        results.client.close()


@contextmanager
def worker_over(server: RedisServer) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a real worker of NODE; give it when it answers."""
    log = server.run_dir / "worker.log"
    environment = {
        **os.environ,
        "REDIS_URL": server.url,
        "DATABASE_URL": "",
        "MAGI_DATA_DIR": str(server.run_dir),
        "MAGI_NODE": NODE,
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            runnable(worker_command(NODE)),
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        until(answers, process, log)
        yield process
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()


def answers() -> bool:
    with suppress(NoWorkerError, QueueUnavailableError):
        require_worker(NODE)
        return True
    return False


@contextmanager
def paused(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    try:
        with queue_over(server):
            yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def worker(shared_redis: RedisServer) -> "Iterator[subprocess.Popen[bytes]]":
    with worker_over(shared_redis) as process:
        yield process


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A Redis that the test may do anything to."""
    with queue_over(redis_server):
        yield redis_server


def refuses() -> None:
    """Hold every call against a Redis that is away."""
    result = current_app.AsyncResult("11111111-2222-3333-4444-555555555555")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", fail)
        patch.setattr("kombu.utils.functional.sleep", fail)
        patch.setattr("redis.retry.sleep", fail)
        for call in (
            lambda: require_worker(NODE),
            lambda: without_worker([NODE, "there"]),
            lambda: enqueue(ECHO, 1, node=NODE),
            lambda: enqueue(ECHO, 1, node=NODE, wants_result=False),
            lambda: is_done_within(result, PATIENCE_S),
            lambda: task_meta(result.id),
        ):
            with pytest.raises(QueueUnavailableError, match="Redis"):
                call()


def fail(_seconds: float) -> None:
    pytest.fail("something is tried again, and somebody waits for it")


@pytest.mark.usefixtures("worker")
def test_a_task_is_done_and_its_result_is_told() -> None:
    require_worker(NODE)
    result = enqueue(ECHO, 1, 2, node=NODE)

    assert is_done_within(result, PATIENCE_S)

    assert result.result == [1, 2]
    assert task_meta(result.id) == ("success", [1, 2])


def test_what_nobody_does_is_not_done(shared_redis: RedisServer) -> None:
    result = enqueue(ECHO, 1, node="nowhere")

    assert not is_done_within(result, 0)

    assert task_meta(result.id) == ("pending", None)
    with Redis.from_url(shared_redis.url) as redis:
        assert redis.llen("node.nowhere") == 1


@pytest.mark.usefixtures("shared_redis")
def test_without_a_worker_it_is_said_whose_is_missing() -> None:
    with pytest.raises(NoWorkerError, match="No worker of node 'nowhere' answers"):
        require_worker("nowhere")


@pytest.mark.usefixtures("worker")
def test_of_many_nodes_those_without_a_worker_are_named() -> None:
    away = without_worker([NODE, "there", "nowhere"])

    assert set(away) == {"there", "nowhere"}


def test_a_worker_that_hangs_is_as_good_as_none(
    worker: "subprocess.Popen[bytes]",
) -> None:
    with paused(worker), pytest.raises(NoWorkerError):
        require_worker(NODE)

    until(answers, worker, Path(os.devnull))


def test_a_redis_that_hangs_is_as_good_as_none(
    worker: "subprocess.Popen[bytes]",
    shared_redis: RedisServer,
) -> None:
    with shared_redis.hanging():
        refuses()

    until(answers, worker, Path(os.devnull))
    assert is_done_within(enqueue(ECHO, 1, node=NODE), PATIENCE_S)


@pytest.mark.usefixtures("worker")
def test_asking_leaves_nothing_in_redis(shared_redis: RedisServer) -> None:
    with Redis.from_url(shared_redis.url) as redis:
        require_worker(NODE)
        before = set(redis.keys())

        require_worker(NODE)
        without_worker([NODE, "nowhere"])

        assert set(redis.keys()) == before
        assert not [key for key in before if b"reply" in key]


@pytest.mark.usefixtures("worker")
def test_nobody_stays_subscribed_to_results(shared_redis: RedisServer) -> None:
    assert is_done_within(enqueue(ECHO, 1, node=NODE), PATIENCE_S)

    with Redis.from_url(shared_redis.url) as redis:
        assert redis.pubsub_channels("celery-task-meta-*") == []


def test_where_redis_never_was_it_is_said(
    redis: RedisServer,
) -> None:
    redis.kill()
    (redis.run_dir / "redis.sock").unlink()

    refuses()


def test_a_redis_that_went_and_came_back_is_used_again(
    redis: RedisServer,
) -> None:
    assert not is_done_within(enqueue(ECHO, 1, node=NODE), 0)
    redis.kill()
    refuses()

    redis.start()

    assert not is_done_within(enqueue(ECHO, 1, node=NODE), 0)
    with pytest.raises(NoWorkerError):
        require_worker(NODE)


def test_a_worker_that_was_killed_is_missed_with_the_next_question(
    redis: RedisServer,
) -> None:
    with worker_over(redis) as worker:
        worker.kill()
        worker.wait()

        with pytest.raises(NoWorkerError):
            require_worker(NODE)
