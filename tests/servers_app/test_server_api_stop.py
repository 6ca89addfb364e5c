"""The calls that stop one server, and that start and stop all."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from models_app.models import ScanRoot
from profiles_app.services import make_active
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.scripted_worker import ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/models/servers"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    return ScriptedWorker(monkeypatch)


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(f"{URL}/{path}", body or {}, content_type="application/json")


@pytest.mark.usefixtures("worker")
def test_a_stop_answers_when_the_server_is_gone(
    client: Client, make_server: MakeServer
) -> None:
    make_server(**READY)

    response = post(client, "qwen3_4p0b_q4km_fast/stop")

    assert response.status_code == 200
    body = response.json()
    assert (body["model_id"], body["status"]) == ("qwen3_4p0b_q4km_fast", "stopped")
    assert 0 <= body["shutdown_time_seconds"] < 30
    assert body["message"].startswith("QWEN3_4P0B_Q4KM_FAST stopped after ")


@pytest.mark.usefixtures("worker")
def test_a_stop_of_what_does_not_run_says_so_and_keeps_requests_from_starting_it(
    client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_model("never")
    make_server(on_request=True)

    at_rest, never = (
        post(client, f"{model_id}/stop").json()
        for model_id in ("qwen3_4p0b_q4km_fast", "never")
    )

    assert (at_rest["status"], never["status"]) == ("not_running", "not_running")
    assert never["message"] == "NEVER was not running."
    assert never["shutdown_time_seconds"] == 0
    assert Server.objects.get().on_request is False


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("query", "body", "is_cut"),
    [
        ("", {}, False),
        ("?at_once=true", {}, True),
        ("", {"at_once": True}, True),
        ("?at_once=true", {"at_once": False}, False),
    ],
)
def test_requests_in_flight_are_cut_only_when_that_is_asked_for(
    client: Client, make_server: MakeServer, query: str, body: Any, is_cut: bool
) -> None:
    make_server(**READY)

    post(client, f"qwen3_4p0b_q4km_fast/stop{query}", body)

    drain_until = Server.objects.get().drain_until
    assert drain_until is not None
    assert (drain_until <= timezone.now()) is is_cut


def test_a_stop_that_drains_can_be_followed(
    client: Client, make_server: MakeServer, worker: ScriptedWorker
) -> None:
    make_server(**READY)
    worker.does = lambda _server: {
        "state": ServerState.STOPPING,
        "note": "2 requests are in flight",
    }

    response = post(client, "qwen3_4p0b_q4km_fast/stop?wait=0")

    assert response.status_code == 202
    assert response.json()["message"].endswith("is stopping: 2 requests are in flight.")
    assert response.json()["status_url"] == f"{URL}/qwen3_4p0b_q4km_fast"


@pytest.fixture
def _profile(make_model: MakeModel, make_profile: MakeProfile) -> None:
    make_model("a")
    make_model("b")
    make_model("broken", problem="truncated")
    make_active(make_profile("mine", "a", "b", "broken", "gone"))


@pytest.mark.usefixtures("worker", "_profile")
def test_all_of_the_profile_are_started_and_those_that_cannot_are_named(
    client: Client,
) -> None:
    response = post(client, "start-all")

    assert response.status_code == 200
    body = response.json()
    assert body["message"].startswith("Started 2 of 4 after ")
    assert (body["started"], body["total"]) == (2, 4)
    assert [model["model_id"] for model in body["models"]] == ["a", "b"]
    assert [(one["model_id"], one["detail"]) for one in body["failed"]] == [
        ("gone", "No model here has the id gone."),
        ("broken", "broken cannot be started: truncated."),
    ]
    assert body["startup_time_seconds"] >= 0


@pytest.mark.usefixtures("_profile")
def test_one_that_fails_does_not_hide_the_others(
    client: Client, worker: ScriptedWorker
) -> None:
    usual = worker.does
    assert usual is not None
    worker.does = lambda server: (fails() if server.model.model_id == "b" else usual)(server)

    body = post(client, "start-all").json()

    assert (body["started"], body["total"]) == (1, 4)
    assert [model["model_id"] for model in body["models"]] == ["a"]
    assert "--bogus" in next(f["detail"] for f in body["failed"] if f["model_id"] == "b")


@pytest.mark.usefixtures("_profile")
def test_a_start_of_all_that_takes_longer_is_accepted(
    client: Client, worker: ScriptedWorker
) -> None:
    worker.does = None

    response = post(client, "start-all?wait=0")

    assert response.status_code == 202
    body = response.json()
    assert (body["started"], body["task_id"], body["status_url"]) == (0, None, URL)
    assert "A is stopped, and wanted running." in body["message"]


@pytest.mark.usefixtures("_profile")
def test_a_node_without_a_worker_does_not_keep_the_others_from_starting(
    client: Client, make_model: MakeModel, make_profile: MakeProfile, worker: ScriptedWorker
) -> None:
    root = ScanRoot.objects.create(node="attic", path="/models")
    make_model("far", root=root)
    make_active(make_profile("two", "a", "far"))
    worker.away = ["attic"]

    body = post(client, "start-all").json()

    assert (body["started"], body["total"]) == (1, 2)
    (far,) = body["failed"]
    assert far["model_id"] == "far"
    assert "No worker of node 'attic' answers" in far["detail"]


@pytest.mark.usefixtures("_profile")
def test_where_nobody_works_no_start_of_all_is_asked_for(
    client: Client, worker: ScriptedWorker
) -> None:
    worker.away = ["local"]

    assert post(client, "start-all").status_code == 503
    assert not Server.objects.exists()


@pytest.mark.usefixtures("worker")
def test_without_an_active_profile_there_is_nothing_to_start(client: Client) -> None:
    response = post(client, "start-all")

    assert response.status_code == 404
    assert "No profile is active" in response.json()["detail"]


@pytest.mark.usefixtures("worker", "_profile")
def test_all_are_stopped_those_on_their_way_down_too(
    client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    post(client, "start-all")
    drains = make_server(make_model("drains"), state=ServerState.STOPPING, pid=7, port=8090)
    Server.objects.filter(pk=drains.pk).update(wanted=Wanted.STOPPED)

    slow = post(client, "stop-all?wait=0.2")
    assert slow.status_code == 202
    assert (slow.json()["stopped"], slow.json()["total"]) == (2, 3)

    Server.objects.filter(pk=drains.pk).update(state=ServerState.STOPPED, port=None)
    done = post(client, "stop-all").json()
    assert (done["stopped"], done["total"], done["failed"]) == (0, 0, [])
    assert {"message", "models", "startup_time_seconds", "shutdown_time_seconds"} <= set(done)


@pytest.mark.usefixtures("worker")
def test_the_servers_of_one_node_are_stopped(
    client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("near"), **READY)
    make_server(make_model("far"), **READY, node="attic")

    body = post(client, "stop-all?node=attic").json()

    assert [model["model_id"] for model in body["models"]] == ["far"]
    assert Server.objects.get(node="local").state == ServerState.READY


@pytest.mark.parametrize("path", ["a/start", "a/stop", "a/restart", "start-all", "stop-all"])
def test_what_changes_something_is_no_get(
    client: Client, make_model: MakeModel, path: str
) -> None:
    make_model("a")

    assert client.get(f"{URL}/{path}").status_code == 405


@pytest.mark.parametrize("path", ["a/start", "a/stop", "a/restart", "start-all", "stop-all"])
def test_beyond_loopback_only_staff_commands_servers(
    client: Client, make_model: MakeModel, settings: Settings, path: str
) -> None:
    make_model("a")
    settings.MAGI_HOST = "0.0.0.0"

    assert post(client, path).status_code == 401
    assert not Server.objects.exists()
