from dataclasses import fields
from functools import partial
from typing import Any

import pytest
from django.test import Client
from kombu.exceptions import OperationalError
from redis import ConnectionError as RedisConnectionError

from models_app.models import ScanRoot
from models_app.registry import ScanReport
from models_app.task_schema import ScanReportSerializer
from tests.pings import pongs

pytestmark = pytest.mark.django_db

REPORT = {"models_found": 7, "timestamp": "2026-11-21T20:30:00+00:00", "added": []}


class StandInResult:
    """What Celery gives for a queued task."""

    id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, *, is_ready: bool, has_failed: bool = False) -> None:
        self.is_ready, self.has_failed = is_ready, has_failed
        self.result: Any = REPORT

    def ready(self) -> bool:
        return self.is_ready

    def failed(self) -> bool:
        return self.has_failed


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A worker that answers the ping and finishes a rescan at once."""
    monkeypatch.setattr("celery.app.control.Control.broadcast", partial(pongs, away=["gpu"]))
    answer_with(monkeypatch, StandInResult(is_ready=True))
    return monkeypatch


def answer_with(monkeypatch: pytest.MonkeyPatch, result: StandInResult) -> None:
    monkeypatch.setattr(
        "models_app.tasks.rescan.apply_async", lambda *_args, **_options: result
    )


@pytest.mark.usefixtures("worker")
def test_another_node_is_scanned_by_its_worker(client: Client) -> None:
    ScanRoot.objects.create(node="gpu", path="/models")

    assert client.post("/api/models/rescan?node=gpu").status_code == 503  # only local answers
    unknown = client.post("/api/models/rescan?node=gpux")
    assert unknown.status_code == 404
    assert unknown.json() == {"detail": "Node not found: gpux. Available: gpu, local."}


@pytest.mark.usefixtures("worker")
def test_a_rescan_answers_as_the_guide_shows_with_the_report(client: Client) -> None:
    response = client.post("/api/models/rescan")

    assert response.status_code == 200
    assert response.json() == {"message": "Re-scan completed successfully", **REPORT}


def test_a_rescan_that_is_not_done_in_time_can_be_followed(
    client: Client, worker: pytest.MonkeyPatch
) -> None:
    answer_with(worker, StandInResult(is_ready=False))

    response = client.post("/api/models/rescan?wait=0")

    assert response.status_code == 202
    assert response.json() == {
        "message": "The rescan has been queued",
        "task_id": StandInResult.id,
        "status_url": f"/api/tasks/{StandInResult.id}",
    }


def test_a_rescan_that_failed_says_where_to_look(
    client: Client, worker: pytest.MonkeyPatch
) -> None:
    answer_with(worker, StandInResult(is_ready=True, has_failed=True))

    response = client.post("/api/models/rescan")

    assert response.status_code == 502
    assert "worker's log" in response.json()["detail"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("wait", ["soon", "-1", "601", "nan"])
def test_a_wait_that_is_no_number_of_seconds_is_refused_by_name(
    client: Client, wait: str
) -> None:
    response = client.post(f"/api/models/rescan?wait={wait}")

    assert response.status_code == 400
    assert response.json() == {"detail": f"wait={wait} is not a number from 0 to 600."}


def test_without_a_worker_the_rescan_is_refused_at_once(
    client: Client, worker: pytest.MonkeyPatch
) -> None:
    worker.setattr("celery.app.control.Control.broadcast", lambda *_args, **_options: [])

    response = client.post("/api/models/rescan")

    assert response.status_code == 503
    assert "No worker of node 'local' answers" in response.json()["detail"]


def test_without_a_queue_the_rescan_is_refused_at_once(
    client: Client, worker: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError

    worker.setattr("celery.app.control.Control.broadcast", refuse)

    response = client.post("/api/models/rescan")

    assert response.status_code == 503
    assert "Redis" in response.json()["detail"]


def test_a_redis_that_goes_while_a_rescan_is_waited_for_is_told(
    client: Client, worker: pytest.MonkeyPatch
) -> None:
    def is_gone(_result: StandInResult) -> bool:
        raise RedisConnectionError

    worker.setattr(StandInResult, "ready", is_gone)

    response = client.post("/api/models/rescan")

    assert response.status_code == 503
    assert "Redis" in response.json()["detail"]


def test_the_schema_knows_all_that_a_report_has() -> None:
    assert ScanReportSerializer().fields.keys() == {field.name for field in fields(ScanReport)}


def test_a_task_that_is_no_id_is_not_found(client: Client) -> None:
    assert client.get("/api/tasks/not-an-id").status_code == 404
