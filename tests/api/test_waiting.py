"""What a worker has not done in time is answered as the document says, too."""

from typing import Any

import pytest
from django.test import Client

from profiles_app.services import make_active, save_yaml
from servers_app.models import ServerState, Wanted
from tests.api.document import check_answer
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = "/api/models/servers"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    """A worker that takes what it is given, and does none of it."""
    worker = ScriptedWorker(monkeypatch)
    worker.does = None
    return worker


def post(client: Client, path: str) -> Any:
    return client.post(f"{SERVERS}/{path}?wait=0", content_type="application/json")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("call", ["start", "restart", "stop"])
def test_one_server(client: Client, make_server: MakeServer, call: str) -> None:
    is_stop = call == "stop"
    make_server(
        wanted=Wanted.RUNNING if is_stop else Wanted.STOPPED,
        state=ServerState.READY if is_stop else ServerState.STOPPED,
    )

    answer = post(client, f"qwen3_4p0b_q4km_fast/{call}")

    assert answer.status_code == 202
    check_answer("post", f"{SERVERS}/{{model_id}}/{call}", answer)


@pytest.mark.usefixtures("worker")
def test_all_servers(client: Client, make_model: MakeModel, make_server: MakeServer) -> None:
    make_server(make_model("here"), wanted=Wanted.RUNNING, state=ServerState.READY)
    make_model("there")
    make_active(save_yaml("name: D\nenabled_models: [here, there, nowhere]\n"))

    started, stopped = post(client, "start-all"), post(client, "stop-all")

    assert (started.status_code, stopped.status_code) == (202, 202)
    assert started.json()["failed"]
    check_answer("post", f"{SERVERS}/start-all", started)
    check_answer("post", f"{SERVERS}/stop-all", stopped)


@pytest.mark.parametrize("call", ["start", "restart"])
def test_nobody_is_there_to_do_it(
    client: Client, make_server: MakeServer, worker: ScriptedWorker, call: str
) -> None:
    worker.away = ("local",)
    make_server()

    answer = post(client, f"qwen3_4p0b_q4km_fast/{call}")

    assert answer.status_code == 503
    check_answer("post", f"{SERVERS}/{{model_id}}/{call}", answer)
