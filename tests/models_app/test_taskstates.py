"""How a task is that was queued: with a real Redis, and what a worker does with a task."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, current_app
from celery import Task as CeleryTask
from celery.app.trace import build_tracer
from celery.result import AsyncResult
from django.test import Client
from redis import Redis

from magi_site.datadir import broker_url
from models_app import tasks, taskstates
from models_app.broker import PolledResults
from models_app.errors import UnknownTaskError
from models_app.progress import task_progress
from models_app.registry import ScanReport
from models_app.taskstates import QUIET_S, ProgressNotes, TaskState, follow
from tests.redis_server import RedisServer

pytestmark = [
    pytest.mark.django_db,
    # Celery calls it when it keeps a result.
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

Told = list[tuple[str, str]]


@pytest.fixture
def results(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisServer]:
    """A Redis that keeps results and notes; a queue that takes tasks, and does nothing."""
    url = broker_url(redis_server.url).removeprefix("redis+")
    backend = PolledResults(app=current_app, url=url)
    monkeypatch.setattr(Celery, "backend", backend)
    monkeypatch.setattr(
        CeleryTask,
        "apply_async",
        lambda _task, _args, _kwargs, task_id="", **_options: AsyncResult(task_id),
    )
    yield redis_server
    backend.client.connection_pool.disconnect()


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The events of tasks: ids and states."""
    told: Told = []
    monkeypatch.setattr(
        taskstates, "publish", lambda _kind, data: told.append((data["task_id"], data["state"]))
    )
    return told


def work(task_id: str, **request: object) -> None:
    """Do what a worker does with a rescan that it is given."""
    tracer = build_tracer(tasks.rescan.name, tasks.rescan, app=current_app)
    tracer(task_id, ["local"], {}, {"id": task_id, "ignore_result": False, **request})


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return a function that puts another one in the place of a scan."""
    return lambda scan: monkeypatch.setattr("models_app.registry.rescan", scan)


def report() -> Any:
    class Report(ScanReport):
        def __init__(self) -> None:
            pass

        def as_json(self) -> dict[str, Any]:
            return {"models_found": 7}

    return Report()


def shown(client: Client, task_id: str) -> Any:
    return client.get(f"/api/tasks/{task_id}").json()


def test_a_task_is_followed_from_the_queue_to_its_result(
    client: Client,
    results: RedisServer,
    told: Told,
    scans: Callable[[Callable[..., Any]], None],
) -> None:
    task_id = tasks.rescan.apply_async(("local",)).id
    queued = shown(client, task_id)
    seen = []

    def scan(_node: str, *, on_file: Any, prune: bool) -> Any:
        seen.append(shown(client, task_id))
        on_file("/models/a.gguf", 412)
        seen.append(shown(client, task_id))
        return report()

    scans(scan)
    work(task_id)
    ended = shown(client, task_id)

    known = {"task_id": task_id, "progress": None, "result": None, "error": None}
    assert queued == {**known, "state": "pending"}
    assert seen == [
        {**known, "state": "running"},
        {
            **known,
            "state": "running",
            "progress": {"files_seen": 412, "folder": "/models"},
        },
    ]
    assert ended == {**known, "state": "success", "result": {"models_found": 7}}
    assert told == [(task_id, state) for state in ("pending", "running", "success")]
    with Redis.from_url(results.url) as redis:  # only the result is kept
        assert redis.keys("*") == [f"celery-task-meta-{task_id}".encode()]


@pytest.mark.usefixtures("results")
def test_a_task_that_failed_says_so_and_not_why(
    client: Client, told: Told, scans: Callable[[Callable[..., Any]], None]
) -> None:
    task_id = tasks.rescan.apply_async(("local",)).id

    def scan(*_arguments: object, **_options: object) -> Any:
        msg = "/secret/path cannot be read"
        raise OSError(msg)

    scans(scan)
    work(task_id)
    body = shown(client, task_id)

    assert (body["state"], body["result"]) == ("failure", None)
    assert body["error"] == "It failed; the worker's log says why."
    assert "secret" not in json.dumps(body)
    assert told[-1] == (task_id, "failure")


@pytest.mark.usefixtures("results")
def test_a_task_that_was_never_queued_is_not_found(client: Client) -> None:
    task_id = uuid4()

    response = client.get(f"/api/tasks/{task_id}")

    assert response.status_code == 404
    assert response.json() == {
        "detail": f"Task not found: {task_id}. What became of a task is kept for an hour."
    }


def test_a_task_whose_result_nobody_wants_leaves_nothing_behind(
    results: RedisServer, told: Told, scans: Callable[[Callable[..., Any]], None]
) -> None:
    given = []

    def scan(_node: str, *, on_file: Any, prune: bool) -> Any:
        given.append(on_file)
        return report()

    scans(scan)
    tasks.rescan.apply_async(("local",), task_id="t", ignore_result=True)
    work("t", ignore_result=True)

    with Redis.from_url(results.url) as redis:
        assert redis.keys("*") == []
    assert (given, told) == ([None], [])


def test_what_is_kept_of_a_task_is_kept_for_a_while(results: RedisServer) -> None:
    task_id = tasks.rescan.apply_async(("local",)).id

    with Redis.from_url(results.url) as redis:
        (key,) = redis.keys("*")
        assert task_id in key.decode()
        assert 0 < redis.ttl(key) <= taskstates.NOTE_KEPT_S


def test_without_redis_a_task_cannot_be_followed_and_the_call_says_so(
    client: Client, results: RedisServer
) -> None:
    task_id = tasks.rescan.apply_async(("local",)).id
    results.kill()

    response = client.get(f"/api/tasks/{task_id}")

    assert response.status_code == 503
    assert "Redis" in response.json()["detail"]


def test_a_task_goes_on_when_its_progress_cannot_be_noted(results: RedisServer) -> None:
    now = 100.0
    task_id = tasks.rescan.apply_async(("local",)).id
    notes = ProgressNotes(task_id, clock=lambda: now)
    results.kill()

    notes.write({"files_seen": 1})
    results.start()
    notes.write({"files_seen": 2})  # it leaves Redis alone for a while
    with pytest.raises(UnknownTaskError):
        follow(task_id)  # a Redis that was killed has forgotten it
    now += QUIET_S
    notes.write({"files_seen": 3})

    followed = follow(task_id)
    assert (followed.state, followed.progress) == (TaskState.RUNNING, {"files_seen": 3})


@pytest.mark.usefixtures("results")
def test_progress_is_noted_slowly_enough_for_redis() -> None:
    now = 100.0
    task_id = tasks.rescan.apply_async(("local",)).id
    on_file = task_progress(task_id, clock=lambda: now)

    on_file("/models/a.gguf", 1)
    on_file("/models/b.gguf", 2)

    assert follow(task_id).progress == {"files_seen": 1, "folder": "/models"}
    now += 1
    on_file("/models/c.gguf", 3)
    assert follow(task_id).progress == {"files_seen": 3, "folder": "/models"}
