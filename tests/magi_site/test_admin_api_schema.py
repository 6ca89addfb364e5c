"""What /api/admin answers is as the OpenAPI document says, also while parts are away."""

import socket

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from models_app.errors import NoWorkerError
from models_app.models import Scan, ScanRoot, ScanState
from servers_app.models import EngineBuild, Node, ServerState, Wanted
from tests.api.document import check_answer
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.redis_server import RedisServer
from tests.servers_app.scripted_worker import ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

HEALTH = "/api/admin/health/detailed"
INFO = "/api/admin/system/info"


@pytest.fixture(autouse=True)
def something_of_everything(
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> None:
    for module in ("parts", "system_info"):
        monkeypatch.setattr(
            f"magi_site.operations.{module}.without_worker",
            lambda _names: {"there": NoWorkerError("there")},
        )
    make_profile("development", "here", "gone", is_active=True)
    make_server(
        make_model("here"),
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        last_error="It broke.",
    )
    ScanRoot.objects.create(node="there", path="/disk", last_error="no such folder")
    Scan.objects.create(node="local", state=ScanState.FINISHED)
    gpu = {"name": "a GPU", "total_bytes": 3, "free_bytes": 2, "used_bytes": 1}
    Node.objects.create(
        name="local", heartbeat_at=timezone.now(), hardware={"cpu": "x", "gpus": [gpu]}
    )
    Node.objects.create(name="there")
    EngineBuild.objects.create(node="local", path="/llama-server", devices=[{"name": "CUDA0"}])


@pytest.fixture
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    database = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": port,
        "OPTIONS": {},
    }
    monkeypatch.setitem(connections.settings, "default", database)


def test_the_health_of_all_parts(client: Client) -> None:
    response = client.get(HEALTH)

    assert response.status_code == 200
    check_answer("get", HEALTH, response)


def test_the_health_without_redis(client: Client, redis_server: RedisServer) -> None:
    redis_server.kill()

    response = client.get(HEALTH)

    assert response.status_code == 503
    check_answer("get", HEALTH, response)


@pytest.mark.usefixtures("_no_database")
def test_the_health_without_a_database(client: Client) -> None:
    response = client.get(HEALTH)

    assert response.status_code == 503
    check_answer("get", HEALTH, response)


def test_the_system(client: Client) -> None:
    check_answer("get", INFO, client.get(INFO))


@pytest.mark.usefixtures("_no_database")
def test_the_system_without_redis_and_database(
    client: Client, redis_server: RedisServer
) -> None:
    redis_server.kill()

    check_answer("get", INFO, client.get(INFO))


def test_what_was_asked_of_all_servers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ScriptedWorker(monkeypatch)
    worker.does = fails()

    for call in ("restart", "stop"):
        path = f"/api/admin/servers/{call}"
        check_answer("post", path, client.post(path))
        check_answer("post", path, client.post(f"{path}?wait=0"))
