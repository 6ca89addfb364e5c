"""GET /api/admin/health/detailed: each part of MAGI, looked at now."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from models_app.errors import NoWorkerError
from models_app.models import DiscoveredModel, Scan, ScanRoot, ScanState
from profiles_app.models import Profile, ProfileMember
from servers_app.keys import server_key
from servers_app.models import Node, Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/admin/health/detailed"
PARTS = [
    "registry",
    "servers",
    "profiles",
    "discovery",
    "queue",
    "database",
    "disk",
    "nodes",
]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Answer for the workers of all nodes but those in the set that is returned."""
    nodes: set[str] = set()
    monkeypatch.setattr(
        "magi_site.operations.parts.without_worker",
        lambda names: {name: NoWorkerError(name) for name in names if name in nodes},
    )
    return nodes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def server(
    redis_server: RedisServer,
    away: set[str],
    root: Path,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> Server:
    """A MAGI in which all is as it should be; return its server."""
    model = make_model("here")
    make_profile("development", "here", is_active=True)
    ScanRoot.objects.create(node="local", path=str(root))
    Scan.objects.create(node="local", state=ScanState.FINISHED)
    Node.objects.create(name="local", heartbeat_at=timezone.now())
    return make_server(model, wanted=Wanted.RUNNING, state=ServerState.READY, pid=42)


def health(client: Client, name: str) -> dict[str, Any]:
    """Return one part's health, having made sure that the whole says no better."""
    body = client.get(URL).json()
    part: dict[str, Any] = body["components"][name]
    if part["status"] != "healthy":
        assert body["status"] != "healthy"
        assert part["detail"] in body["detail"]
    return part


def test_where_all_is_well_every_part_says_so(client: Client) -> None:
    response = client.get(URL)

    body = response.json()
    assert (response.status_code, body["status"], body["detail"]) == (200, "healthy", "")
    assert list(body["components"]) == PARTS
    assert {part["status"] for part in body["components"].values()} == {"healthy"}
    assert all(part["detail"] for part in body["components"].values())
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None


def test_the_figures_are_those_of_this_moment(client: Client, server: Server) -> None:
    parts = client.get(URL).json()["components"]

    assert (parts["registry"]["models"], parts["registry"]["missing"]) == (1, 0)
    assert (parts["servers"]["total"], parts["servers"]["ready"]) == (1, 1)
    assert (parts["profiles"]["active"], parts["profiles"]["problems"]) == ("development", [])
    assert parts["queue"]["latency_ms"] > 0
    assert parts["database"]["vendor"] in {"sqlite", "postgresql"}
    assert (parts["nodes"]["total"], parts["nodes"]["working"]) == (1, 1)
    assert parts["nodes"]["nodes"][0]["answers"] is True


# -- the registry, servers and profiles


def test_a_model_without_its_files_is_counted(client: Client, make_model: MakeModel) -> None:
    make_model("gone", is_missing=True)
    make_model("broken", problem="shard 2 of 3 is missing")

    part = health(client, "registry")

    assert (part["status"], part["missing"], part["broken"]) == ("degraded", 1, 1)


def test_a_registry_without_models_says_what_to_do(client: Client) -> None:
    Server.objects.all().delete()
    ProfileMember.objects.all().delete()
    DiscoveredModel.objects.all().delete()

    part = health(client, "registry")

    assert part["status"] == "degraded"
    assert "rescan" in part["detail"]


def test_a_server_that_failed_is_named_with_why_and_without_its_key(
    client: Client, server: Server, make_model: MakeModel, make_server: MakeServer
) -> None:
    failed = make_server(
        make_model("broken"), wanted=Wanted.RUNNING, state=ServerState.FAILED, port=None
    )
    key = server_key(failed.pk)
    Server.objects.filter(pk=failed.pk).update(last_error=f"bad key {key}")

    response = client.get(URL)

    part = response.json()["components"]["servers"]
    assert (response.status_code, part["status"]) == (200, "degraded")
    assert "1 of 2 servers ready. In trouble: broken." in part["detail"]
    assert part["failing"][0]["last_error"] == "bad key [its key]"
    assert key not in response.content.decode()


def test_where_every_server_failed_none_is_available_but_magi_is(client: Client) -> None:
    Server.objects.update(state=ServerState.FAILED, port=None)

    response = client.get(URL)

    assert response.json()["components"]["servers"]["status"] == "unavailable"
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


def test_a_server_that_nobody_wants_is_not_missed(client: Client) -> None:
    Server.objects.update(wanted=Wanted.STOPPED, state=ServerState.FAILED, port=None)

    assert health(client, "servers")["status"] == "healthy"


def test_a_profile_with_an_error_in_it_is_told(client: Client) -> None:
    ProfileMember.objects.create(profile=Profile.objects.get(), model_id="hare", position=1)

    part = health(client, "profiles")

    assert part["status"] == "degraded"
    assert "No model here has the id hare" in part["problems"][0]


def test_that_no_profile_is_active_is_told(client: Client) -> None:
    Profile.objects.update(is_active=False)

    part = health(client, "profiles")

    assert (part["status"], part["active"]) == ("degraded", None)


# -- discovery


def test_a_scan_root_that_is_not_there_is_named(client: Client, root: Path) -> None:
    ScanRoot.objects.create(node="local", path=str(root / "gone"))

    part = health(client, "discovery")

    assert part["status"] == "degraded"
    assert f"{root / 'gone'} (no such folder)" in part["detail"]


def test_where_no_scan_root_is_there_nothing_is_discovered(client: Client, root: Path) -> None:
    root.rmdir()

    assert health(client, "discovery")["status"] == "unavailable"


def test_a_scan_root_of_another_node_is_as_its_last_scan_said(client: Client) -> None:
    ScanRoot.objects.create(node="there", path="/disk", last_error="permission denied")

    part = health(client, "discovery")

    (root,) = [root for root in part["roots"] if root["node"] == "there"]
    assert (part["status"], root["problem"]) == ("degraded", "permission denied")


def test_a_scan_that_failed_is_told(client: Client) -> None:
    Scan.objects.create(node="local", state=ScanState.FAILED)

    part = health(client, "discovery")

    assert (part["status"], part["last_scan_state"]) == ("degraded", "failed")


# -- nodes


def test_a_node_that_is_silent_is_named_with_its_last_sign(client: Client) -> None:
    Node.objects.create(name="gpu", heartbeat_at=timezone.now() - timedelta(minutes=3))
    ScanRoot.objects.create(node="gpu", path="/disk")

    part = health(client, "nodes")

    assert (part["status"], part["working"], part["total"]) == ("degraded", 1, 2)
    assert "gpu answers, but has not said for 3 min" in part["detail"]


def test_a_node_of_which_nothing_is_expected_is_not_missed(
    client: Client, away: set[str]
) -> None:
    Node.objects.create(name="sold", heartbeat_at=timezone.now() - timedelta(days=90))
    away.add("sold")

    part = health(client, "nodes")

    assert (part["status"], part["total"]) == ("healthy", 1)
    assert [node["name"] for node in part["nodes"]] == ["local", "sold"]


def test_a_machine_of_web_processes_alone_is_not_missed(
    client: Client, away: set[str], settings: Settings
) -> None:
    settings.MAGI_NODE = "web"
    ScanRoot.objects.create(node="web", path="/of/its/settings")
    away.add("web")

    part = health(client, "nodes")

    assert (part["status"], part["total"]) == ("healthy", 1)


def test_without_any_worker_magi_is_not_available(client: Client, away: set[str]) -> None:
    away.add("local")

    response = client.get(URL)

    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert "local has no worker that answers." in response.json()["detail"]


def test_a_worker_that_never_wrote_a_heartbeat_is_told(client: Client) -> None:
    Node.objects.all().delete()

    part = health(client, "nodes")

    assert part["status"] == "unavailable"
    assert "local answers, but has never said" in part["detail"]
