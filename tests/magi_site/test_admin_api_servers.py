"""POST /api/admin/discover, /servers/restart and /servers/stop."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from models_app.models import ScanRoot
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer
from tests.models_app.test_api import REPORT, StandInResult, answer_with
from tests.servers_app.scripted_worker import ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = ["discover", "servers/restart", "servers/stop", "test/endpoints"]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    return ScriptedWorker(monkeypatch)


@pytest.fixture
def two_ready(make_model: MakeModel, make_server: MakeServer) -> None:
    an_hour_ago = timezone.now() - timedelta(hours=1)
    for number, model_id in enumerate(["a", "b"]):
        make_server(
            make_model(model_id),
            wanted=Wanted.RUNNING,
            state=ServerState.READY,
            pid=42 + number,
            port=8080 + number,
            launched_at=an_hour_ago,
        )


def post(client: Client, call: str, **options: Any) -> Any:
    return client.post(f"/api/admin/{call}", **options)


@pytest.mark.usefixtures("worker")
def test_discover_looks_for_models_and_says_where(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, StandInResult(is_ready=True))
    ScanRoot.objects.create(node="local", path="/models")
    ScanRoot.objects.create(node="local", path="/old", is_enabled=False)

    response = post(client, "discover")

    assert response.status_code == 200
    assert response.json() == {
        **REPORT,
        "message": "Discovery completed successfully",
        "scan_path": "/models",
    }


@pytest.mark.usefixtures("worker")
def test_discover_can_be_followed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, StandInResult(is_ready=False))

    response = post(client, "discover?wait=0")

    assert response.status_code == 202
    assert response.json()["status_url"] == f"/api/tasks/{StandInResult.id}"


@pytest.mark.usefixtures("two_ready", "worker")
def test_a_restart_of_all_answers_when_each_has_another_process(client: Client) -> None:
    response = post(client, "servers/restart")

    assert response.status_code == 200
    body = response.json()
    assert (body["total_servers"], body["ready_servers"], body["failed"]) == (2, 2, [])
    assert body["message"].startswith("Restarted 2 of 2 servers after ")
    assert {server.pid for server in Server.objects.all()}.isdisjoint({42, 43})


@pytest.mark.usefixtures("worker")
def test_a_restart_of_all_starts_none_that_should_not_run(
    client: Client, make_server: MakeServer
) -> None:
    make_server(wanted=Wanted.STOPPED)

    body = post(client, "servers/restart").json()

    assert (body["total_servers"], body["ready_servers"]) == (0, 0)
    assert body["message"] == "There was nothing to do: no server runs, or should."
    assert Server.objects.get().wanted == Wanted.STOPPED


@pytest.mark.usefixtures("two_ready", "worker")
def test_a_restart_of_one_whose_files_have_gone_is_refused_and_the_others_go_on(
    client: Client,
) -> None:
    server = Server.objects.get(model__model_id="b")
    server.model.is_missing = True
    server.model.save()

    body = post(client, "servers/restart").json()

    assert (body["total_servers"], body["ready_servers"]) == (2, 1)
    (failure,) = body["failed"]
    assert (failure["model_id"], failure["node"]) == ("b", "local")
    assert "cannot be started" in failure["detail"]


@pytest.mark.usefixtures("two_ready")
def test_a_restart_that_fails_says_why_of_each(client: Client, worker: ScriptedWorker) -> None:
    worker.does = fails()

    body = post(client, "servers/restart").json()

    assert (body["total_servers"], body["ready_servers"]) == (2, 0)
    assert [failure["model_id"] for failure in body["failed"]] == ["a", "b"]
    assert "invalid argument: --bogus" in body["failed"][0]["detail"]


@pytest.mark.usefixtures("two_ready")
@pytest.mark.parametrize("call", ["servers/restart", "servers/stop"])
def test_what_takes_longer_is_followed_at_the_servers(
    client: Client, worker: ScriptedWorker, call: str
) -> None:
    worker.does = None

    response = post(client, f"{call}?wait=0")

    body = response.json()
    assert response.status_code == 202
    assert (body["task_id"], body["status_url"]) == (None, "/api/models/servers")
    assert body["total_servers"] == 2
    assert "wanted" in body["message"]


@pytest.mark.usefixtures("two_ready", "worker")
def test_a_stop_of_all_answers_when_they_are_gone(client: Client) -> None:
    response = post(client, "servers/stop")

    body = response.json()
    assert (response.status_code, body["failed"]) == (200, [])
    assert (body["total_servers"], body["ready_servers"]) == (2, 0)
    assert body["message"].startswith("Stopped 2 of 2 servers after ")
    assert not Server.objects.exclude(state=ServerState.STOPPED).exists()


@pytest.mark.usefixtures("two_ready")
def test_servers_of_a_node_without_a_worker_are_named_and_wait_for_it(
    client: Client, worker: ScriptedWorker
) -> None:
    Server.objects.filter(model__model_id="b").update(node="there")
    worker.away = {"there"}

    body = post(client, "servers/stop").json()

    (failure,) = body["failed"]
    assert (failure["node"], body["total_servers"]) == ("there", 2)
    assert "No worker of node 'there' answers" in failure["detail"]
    assert set(Server.objects.values_list("wanted", flat=True)) == {Wanted.STOPPED}


@pytest.mark.usefixtures("two_ready")
@pytest.mark.parametrize("call", CALLS[:3])
def test_without_a_worker_nothing_is_asked(
    client: Client, worker: ScriptedWorker, call: str
) -> None:
    worker.away = {"local"}

    response = post(client, call)

    assert response.status_code == 503
    assert "No worker of node 'local' answers" in response.json()["detail"]
    assert not Server.objects.exclude(wanted=Wanted.RUNNING).exists()


@pytest.mark.usefixtures("two_ready")
@pytest.mark.parametrize("call", CALLS[:3])
def test_without_a_queue_nothing_is_asked(
    client: Client, worker: ScriptedWorker, call: str
) -> None:
    worker.has_queue = False

    response = post(client, call)

    assert response.status_code == 503
    assert "Redis" in response.json()["detail"]


@pytest.mark.usefixtures("two_ready", "worker")
@pytest.mark.parametrize("call", CALLS[:3])
def test_a_wait_that_is_no_number_of_seconds_is_refused_by_name(
    client: Client, call: str
) -> None:
    response = post(client, f"{call}?wait=soon")

    assert response.status_code == 400
    assert "wait=soon" in response.json()["detail"]


@pytest.mark.usefixtures("two_ready", "worker")
@pytest.mark.parametrize("call", CALLS)
def test_who_may_only_look_changes_nothing(
    client: Client, settings: Settings, call: str
) -> None:
    settings.MAGI_API_AUTH = "required"
    secret = new_key("ci", scopes=[Scope.READ]).secret
    headers = {"Authorization": f"Bearer {secret}"}

    by_key, by_nobody = post(client, call, headers=headers), post(client, call)
    client.force_login(User.objects.create_user("ada", is_staff=True))
    by_staff = post(client, call)

    assert (by_key.status_code, by_nobody.status_code, by_staff.status_code) == (403, 401, 403)
    assert not Server.objects.exclude(wanted=Wanted.RUNNING).exists()


@pytest.mark.usefixtures("two_ready", "worker")
def test_who_may_change_servers_stops_them_and_is_written_down(
    client: Client, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"
    ada = User.objects.create_user("ada", is_staff=True)
    ada.user_permissions.add(Permission.objects.get(codename="change_server"))
    client.force_login(ada)

    assert post(client, "servers/stop").status_code == 200

    assert set(Server.objects.values_list("asked_by", flat=True)) == {"ada"}
