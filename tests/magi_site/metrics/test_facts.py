"""What the database knows, as metrics."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from magi_site.metrics.facts import read_facts
from models_app.download_models import Download, DownloadSource, DownloadState
from models_app.models import Scan, ScanState
from servers_app.models import Node, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

GIB = 2**30
Value = Callable[..., float | None]


@pytest.fixture
def value() -> Value:
    """Return a function that gives one value of what the database knows now."""

    def find(name: str, **labels: str) -> float | None:
        for family in read_facts().families:
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None

    return find


def make_node(name: str, **fields: Any) -> Node:
    return Node.objects.create(name=name, heartbeat_at=Now(), **fields)


def test_a_server_shows_what_is_and_what_is_wanted(
    make_server: MakeServer, make_model: MakeModel, value: Value
) -> None:
    now = timezone.now()
    make_server(
        make_model("qwen"),
        node="far",
        replica=1,
        state=ServerState.READY,
        wanted=Wanted.RUNNING,
        launched_at=now - timedelta(seconds=70),
        ready_at=now - timedelta(seconds=60),
        restarts=3,
        memory_mib=1024,
        peak_mib=2048,
    )
    of = {"model": "qwen", "node": "far", "replica": "1"}

    assert value("magi_server_state", state="ready", **of) == 1
    assert value("magi_server_state", state="failed", **of) == 0
    assert value("magi_server_wanted", **of) == 1
    assert value("magi_server_unreachable", **of) == 0
    assert value("magi_server_restarts_total", **of) == 3
    assert value("magi_server_load_seconds", **of) == pytest.approx(10)
    assert 55 < (value("magi_server_ready_seconds", **of) or 0) < 600
    assert value("magi_server_memory_estimated_bytes", **of) == GIB
    assert value("magi_server_memory_peak_bytes", **of) == 2 * GIB


def test_a_server_that_has_measured_nothing_says_nothing_of_memory(
    make_server: MakeServer, value: Value
) -> None:
    server = make_server()
    of = {"model": server.model.model_id, "node": "local", "replica": "0"}

    assert value("magi_server_memory_peak_bytes", **of) is None
    assert value("magi_server_ready_seconds", **of) == 0


def test_models_count_by_what_they_are(
    make_model: MakeModel, make_profile: MakeProfile, value: Value
) -> None:
    make_model("missing", is_missing=True)
    make_model("broken", problem="It ends early.")
    make_profile("active", "qwen", "gone", is_active=True)

    figures = {
        name: value("magi_models", **{"is": name})
        for name in ("registered", "missing", "broken", "enabled")
    }

    assert figures == {"registered": 2, "missing": 1, "broken": 1, "enabled": 2}


def test_of_scans_the_last_one_of_each_node_that_is_over_is_told(value: Value) -> None:
    Scan.objects.create(node="near", state=ScanState.FINISHED, seconds=1, files_seen=3)
    Scan.objects.create(node="near", state=ScanState.FAILED, seconds=2, files_seen=4)
    Scan.objects.create(node="near", state=ScanState.RUNNING)
    Scan.objects.create(node="far", state=ScanState.FINISHED, seconds=5, files_seen=9, added=7)

    assert value("magi_scan_success", node="near") == 0
    assert value("magi_scan_duration_seconds", node="near") == 2
    assert value("magi_scan_success", node="far") == 1
    assert value("magi_scan_files", node="far") == 9
    assert value("magi_scan_results", node="far", result="added") == 7


def test_a_node_that_is_silent_is_down(value: Value) -> None:
    make_node("near", is_cordoned=True, facts={"version": "1.2.3"})
    far = make_node("far")
    Node.objects.filter(pk=far.pk).update(heartbeat_at=Now() - timedelta(minutes=5))
    Node.objects.create(name="never")

    up = {name: value("magi_node_up", node=name) for name in ("near", "far", "never")}

    assert up == {"near": 1, "far": 0, "never": 0}
    assert (value("magi_node_heartbeat_age_seconds", node="far") or 0) >= 299
    assert value("magi_node_cordoned", node="near") == 1
    assert value("magi_node_info", node="near", version="1.2.3") == 1


def test_a_node_shows_its_memory_and_its_disks(value: Value) -> None:
    hardware = {
        "total_bytes": 16 * GIB,
        "available_bytes": 4 * GIB,
        "disks": [{"path": "/models", "total_bytes": 10, "free_bytes": 1}],
        "gpus": [{"name": "A card", "total_bytes": 8, "free_bytes": 2}],
    }
    make_node("near", hardware=hardware)

    assert value("magi_node_memory_total_bytes", node="near") == 16 * GIB
    assert value("magi_node_memory_available_bytes", node="near") == 4 * GIB
    assert value("magi_node_disk_free_bytes", node="near", mount="/models") == 1
    assert value("magi_node_gpu_total_bytes", node="near", gpu="0") == 8


def test_tasks_are_what_the_heartbeats_have_written_down(value: Value) -> None:
    tasks = {"servers_app.tasks.settle": {"done": 5, "failed": 1, "running": 2, "seconds": 7.5}}
    make_node("near", facts={"tasks": tasks})
    make_node("older", facts={})
    of = {"node": "near", "task": "servers_app.tasks.settle"}

    assert value("magi_tasks_total", **of) == 5
    assert value("magi_tasks_failed_total", **of) == 1
    assert value("magi_tasks_running", **of) == 2
    assert value("magi_task_seconds_total", **of) == 7.5


@pytest.mark.parametrize(
    "facts",
    [{"tasks": [1]}, {"tasks": {"a": 7}}, {"tasks": {"a": {"done": "many"}}}, {"version": [1]}],
)
def test_what_a_worker_of_another_version_wrote_breaks_nothing(
    facts: dict[str, Any], value: Value
) -> None:
    make_node("near", facts=facts, hardware={"disks": ["/"], "total_bytes": "much"})

    assert value("magi_node_up", node="near") == 1
    assert value("magi_tasks_total", node="near", task="a") is None


def test_downloads_count_by_node_and_state(value: Value) -> None:
    for number in range(2):
        Download.objects.create(
            node="near",
            source=DownloadSource.HUB,
            reference=f"org/repo-{number}",
            state=DownloadState.RUNNING,
            total_bytes=100,
            done_bytes=40,
            bytes_per_s=5,
        )
    of = {"node": "near", "state": "running"}

    assert value("magi_downloads", **of) == 2
    assert value("magi_download_done_bytes", **of) == 80
    assert value("magi_download_size_bytes", **of) == 200
    assert value("magi_download_bytes_per_second", **of) == 10


def test_it_asks_as_much_however_many_there_are(
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(5):
        make_server(make_model(f"model-{number}"))
        make_node(f"node-{number}")
        Scan.objects.create(node=f"node-{number}", state=ScanState.FINISHED)

    with django_assert_num_queries(7):
        read_facts()
