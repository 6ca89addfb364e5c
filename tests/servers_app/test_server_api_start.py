"""The calls that start and restart one server: what they answer, and refuse."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from servers_app import logs
from servers_app.following import WHEN_BACK
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.scripted_worker import Fields, ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/models/servers"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    return ScriptedWorker(monkeypatch)


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(f"{URL}/{path}", body or {}, content_type="application/json")


@pytest.mark.usefixtures("worker")
def test_a_start_answers_when_the_server_is_ready(
    client: Client, make_model: MakeModel
) -> None:
    make_model("here")

    response = post(client, "here/start")

    assert response.status_code == 200
    assert response.json() == {
        "message": "HERE is ready at port 8080 after 1.5 s.",
        "model_id": "here",
        "display_name": "HERE",
        "replica": 0,
        "node": "local",
        "port": 8080,
        "status": "started",
        "startup_time_seconds": 1.5,
    }
    event = ServerEvent.objects.get(kind=ServerEvent.Kind.WANTED)
    assert (event.who, event.why) == ("API", "by the API")


@pytest.mark.usefixtures("worker")
def test_who_is_signed_in_is_who_asked(admin_client: Client, make_model: MakeModel) -> None:
    make_model("here")

    post(admin_client, "here/start")

    assert Server.objects.get().asked_by == "admin"


@pytest.mark.usefixtures("worker")
def test_a_start_of_one_that_runs_leaves_it_alone(
    client: Client, make_server: MakeServer
) -> None:
    make_server(**READY)

    body = post(client, "qwen3_4p0b_q4km_fast/start").json()

    assert (body["status"], body["port"]) == ("already_running", 8080)
    assert body["startup_time_seconds"] == 0
    assert Server.objects.get().pid == 4242


@pytest.mark.usefixtures("worker")
def test_each_of_several_replicas_is_started_by_its_number(
    client: Client, make_model: MakeModel
) -> None:
    make_model("here")

    ports = [post(client, f"here/start?replica={n}").json()["port"] for n in (0, 1)]

    assert ports == [8080, 8081]
    assert client.get(f"{URL}/here?replica=1").json()["port"] == 8081
    assert post(client, "here/stop?replica=1").json()["status"] == "stopped"
    assert client.get(f"{URL}/here").json()["state"] == "ready"


def test_a_start_that_fails_says_how_it_ended_with_the_last_lines_of_its_log(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.does = fails()

    response = post(client, "here/start")

    assert response.status_code == 502
    assert response.json()["detail"].splitlines() == [
        "here failed. This llama-server does not know --bogus.",
        "Its exit code was 1.",
        "It is not tried again by itself: mend that, then start it.",
        "The last lines of its log:",
        "loading",
        "error: invalid argument: --bogus",
    ]


def test_a_failure_is_told_with_what_its_own_launch_wrote(
    client: Client,
    make_model: MakeModel,
    worker: ScriptedWorker,
    settings: Settings,
    tmp_path: Path,
) -> None:
    settings.MAGI_DATA_DIR = tmp_path
    make_model("here")

    def write_log(server: Server) -> Fields:
        path = logs.log_path(server.pk)
        path.parent.mkdir(parents=True)
        path.write_text(
            "--- launched 2026-11-21T12:00:00Z: llama-server ---\nof before\n"
            "--- launched 2026-11-21T12:01:00Z: llama-server --bogus ---\nof now\n"
        )
        return fails()(server)

    worker.does = write_log

    detail = post(client, "here/start").json()["detail"]

    assert detail.endswith("The last lines of its log:\nof now")


def test_one_that_was_refused_shows_no_log_of_an_earlier_launch(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.does = fails(last_error="Not enough memory.", exit_code=None, log_tail="")

    detail = post(client, "here/start").json()["detail"]

    assert detail.splitlines() == [
        "here failed. Not enough memory.",
        "It is not tried again by itself: mend that, then start it.",
    ]


def test_a_failure_that_will_be_tried_again_says_when(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.does = fails(next_start_at=timezone.now() + timedelta(seconds=65), exit_code=-9)

    detail = post(client, "here/start").json()["detail"]

    assert "It was ended by signal 9 (SIGKILL)." in detail
    assert "It is tried again at 20" in detail
    assert "in 1 min " in detail


def test_a_failure_from_before_is_not_taken_for_the_answer(
    client: Client, make_server: MakeServer, worker: ScriptedWorker
) -> None:
    make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        stopped_at=timezone.now() - timedelta(minutes=5),
        last_error="an old reason",
    )
    worker.does = None

    response = post(client, "qwen3_4p0b_q4km_fast/start?wait=0.2")

    assert response.status_code == 202
    assert "an old reason" not in response.json()["message"]


def test_a_start_that_takes_longer_can_be_followed_at_the_server(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")

    def loads(_server: Server) -> Fields:
        note = "loading the weights"
        return {"state": ServerState.STARTING, "load_progress": 0.25, "note": note}

    worker.does = loads

    response = post(client, "here/start?wait=0&replica=1")

    assert response.status_code == 202
    body = response.json()
    assert body["message"] == "HERE (replica 1) is starting: loading the weights."
    assert (body["task_id"], body["load_progress"]) == (None, 0.25)
    assert client.get(body["status_url"]).json()["replica"] == 1


def test_a_start_that_somebody_takes_back_says_who(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.does = lambda _server: {
        "wanted": Wanted.STOPPED,
        "asked_by": "bob",
        "asked_why": "in the admin",
    }

    response = post(client, "here/start")

    assert response.status_code == 409
    assert response.json()["detail"] == (
        "bob has asked for HERE to be stopped meanwhile (in the admin)."
    )


@pytest.mark.parametrize("call", ["start", "restart"])
def test_without_a_worker_nothing_is_asked_for(
    client: Client, make_model: MakeModel, worker: ScriptedWorker, call: str
) -> None:
    make_model("here")
    worker.away = ["local"]

    response = post(client, f"here/{call}")

    assert response.status_code == 503
    assert "No worker of node 'local' answers" in response.json()["detail"]
    assert not Server.objects.exists()


def test_without_a_queue_a_start_is_refused(
    client: Client, make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.has_queue = False

    response = post(client, "here/start")

    assert response.status_code == 503
    assert "Redis" in response.json()["detail"]


@pytest.mark.parametrize("missing", ["worker", "queue"])
def test_a_start_on_a_chosen_node_is_written_down_and_says_that_it_waits(
    client: Client, make_model: MakeModel, worker: ScriptedWorker, missing: str
) -> None:
    make_model("here")
    worker.away = ["local"] if missing == "worker" else []
    worker.has_queue = missing != "queue"

    response = post(client, "here/start?node=local")

    assert response.status_code == 503
    assert response.json()["detail"].endswith(f" {WHEN_BACK}")
    assert response.json()["detail"].count(WHEN_BACK) == 1
    assert Server.objects.get().wanted == Wanted.RUNNING


@pytest.mark.usefixtures("worker")
def test_a_model_without_its_files_is_a_conflict_and_a_full_range_is_not_available(
    client: Client, make_model: MakeModel, settings: Settings
) -> None:
    make_model("broken", problem="shard 2 of 3 is missing")
    make_model("a")
    make_model("b")
    settings.MODEL_PORT_RANGE_START = settings.MODEL_PORT_RANGE_END = 8080
    post(client, "a/start")

    broken, full = post(client, "broken/start"), post(client, "b/start")

    assert (broken.status_code, full.status_code) == (409, 503)
    assert "shard 2 of 3 is missing" in broken.json()["detail"]
    assert "from 8080 to 8080" in full.json()["detail"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("query", "body", "named"),
    [
        ("wait=601", {}, "wait=601"),
        ("replica=16", {}, "replica=16 is not a number from 0 to 15."),
        ("replica=-1", {}, "replica=-1"),
        ("replica=one", {}, "replica=one"),
        ("replica=²", {}, "replica=²"),
        ("at_once=maybe", {}, "at_once=maybe is not true or false."),
        ("", {"at_once": "yes"}, "at_once: it is true or false."),
        ("", ["at_once"], "The body is a JSON object"),
    ],
)
def test_bad_input_is_refused_by_name(
    client: Client, make_server: MakeServer, query: str, body: Any, named: str
) -> None:
    make_server(**READY)

    response = post(client, f"qwen3_4p0b_q4km_fast/stop?{query}", body)

    assert response.status_code == 400
    assert named in response.json()["detail"]
    assert Server.objects.get().wanted == Wanted.RUNNING


@pytest.mark.usefixtures("worker")
def test_a_restart_answers_when_another_process_is_ready(
    client: Client, make_server: MakeServer
) -> None:
    server = make_server(**READY, launched_at=timezone.now() - timedelta(hours=1))

    body = post(client, "qwen3_4p0b_q4km_fast/restart").json()

    assert (body["status"], body["startup_time_seconds"]) == ("started", 1.5)
    assert Server.objects.get().pid == 4242 + server.pk


def test_the_process_from_before_is_not_taken_for_the_restarted_one(
    client: Client, make_server: MakeServer, worker: ScriptedWorker
) -> None:
    make_server(**READY, launched_at=timezone.now() - timedelta(hours=1))
    worker.does = None

    assert post(client, "qwen3_4p0b_q4km_fast/restart?wait=0.2").status_code == 202


@pytest.mark.usefixtures("worker")
def test_a_restart_of_one_that_never_ran_starts_it(
    client: Client, make_model: MakeModel
) -> None:
    make_model("here")

    assert post(client, "here/restart").json()["status"] == "started"
