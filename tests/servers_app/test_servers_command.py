"""`manage.py servers …`: what each says, waits for, and refuses."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from profiles_app.services import make_active
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.scripted_worker import Fields, ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    return ScriptedWorker(monkeypatch)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("servers", *arguments)
        return capsys.readouterr().out

    return run


# -- list


def test_list_shows_what_each_is_and_what_it_waits_for(
    said: Any, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(
        make_model("runs"),
        **READY,
        launched_at=timezone.now() - timedelta(hours=2, minutes=3),
        memory_mib=1900,
        peak_mib=1234,
        restarts=3,
    )
    make_server(
        make_model("loads"),
        wanted=Wanted.RUNNING,
        state=ServerState.STARTING,
        load_progress=0.42,
        note="loading the weights",
        port=8081,
    )
    make_server(
        make_model("failed"), state=ServerState.FAILED, last_error="No memory.\nIts last lines"
    )
    make_server(make_model("offered"), on_request=True, replica=1)

    lines = {line.split()[0]: line for line in said("list").splitlines()}

    for text in ("ready", "8080", "4242", "2 h 3 min", "1,900 / 1,234", " 3 "):
        assert text in lines["runs"]
    assert "starting 42 %" in lines["loads"]
    assert "loading the weights" in lines["loads"]
    assert "No memory." in lines["failed"]
    assert "Its last lines" not in lines["failed"]
    assert "offered (replica 1)" in lines["offered"]
    assert "on request" in lines["offered"]


def test_list_is_filtered_and_printed_for_machines(
    said: Any, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("near"), **READY)
    make_server(make_model("far"), **READY, node="attic")
    make_server(make_model("rests"))

    def ids(*filters: str) -> list[str]:
        return [each["model_id"] for each in json.loads(said("list", "--json", *filters))]

    assert ids() == ["far", "near", "rests"]
    assert ids("--node", "attic") == ["far"]
    assert ids("--state", "stopped") == ["rests"]
    assert "There is no such server." in said("list", "--state", "failed")


def test_list_watches_until_ctrl_c(
    said: Any, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_server()
    looks = iter([None, None])

    def sleep(_seconds: float) -> None:
        if next(looks, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)

    assert "qwen3_4p0b_q4km_fast" in said("list", "--watch")
    assert next(looks, "over") == "over"


# -- start, restart, stop


def test_start_waits_and_ends_with_one_sentence(said: Any, make_model: MakeModel) -> None:
    make_model("here")

    assert said("start", "here") == "HERE is ready at port 8080 after 1.5 s.\n"
    event = ServerEvent.objects.get(kind=ServerEvent.Kind.WANTED)
    assert (event.who, event.why) == ("ada", "manage.py servers start")
    assert said("start", "here") == "HERE runs already, at port 8080.\n"


def test_start_follows_a_load_to_its_end(
    said: Any, make_model: MakeModel, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("here")
    ready = worker.does
    assert ready is not None
    worker.does = lambda _server: {"state": ServerState.STARTING, "load_progress": 0.5}
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            server = Server.objects.get()
            Server.objects.update(**ready(server))

    monkeypatch.setattr("time.sleep", sleep)

    assert "HERE is ready" in said("start", "here")
    assert len(looks) == 3


def test_start_that_fails_says_why_and_how_its_log_ended(
    make_model: MakeModel, worker: ScriptedWorker
) -> None:
    make_model("here")
    worker.does = fails()

    with pytest.raises(CommandError) as error:
        call_command("servers", "start", "here")

    assert error.value.returncode == 1
    assert "This llama-server does not know --bogus." in str(error.value)
    assert str(error.value).endswith("loading\nerror: invalid argument: --bogus")


def test_start_of_all_tells_of_each(
    said: Any,
    capsys: pytest.CaptureFixture[str],
    make_model: MakeModel,
    make_profile: MakeProfile,
    worker: ScriptedWorker,
) -> None:
    make_model("a")
    make_model("b")
    make_model("broken", problem="truncated")
    make_active(make_profile("mine", "a", "b", "broken", "gone"))

    with pytest.raises(CommandError) as error:
        call_command("servers", "start", "--all")

    assert str(error.value).splitlines() == [
        "No model here has the id gone.",
        "broken cannot be started: truncated.",
    ]
    out = capsys.readouterr().out
    assert "A is ready at port 8080" in out
    assert "B is ready at port 8081" in out
    assert set(Server.objects.values_list("asked_by", flat=True)) == {"ada"}


def test_restart_has_another_process_and_starts_what_never_ran(
    said: Any, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(**READY, launched_at=timezone.now() - timedelta(hours=1))
    make_model("new")

    assert "is ready at port 8080 after 1.5 s" in said("restart", "qwen3_4p0b_q4km_fast")
    server.refresh_from_db()
    assert server.pid != 4242
    assert "NEW is ready" in said("restart", "new")


def test_stop_waits_until_it_is_gone(said: Any, make_server: MakeServer) -> None:
    make_server(**READY)

    assert " stopped after " in said("stop", "qwen3_4p0b_q4km_fast", "--at-once")
    server = Server.objects.get()
    assert server.drain_until is not None
    assert server.drain_until <= timezone.now()
    assert "was not running" in said("stop", "qwen3_4p0b_q4km_fast")


def test_stop_of_all_leaves_none(
    said: Any, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("a"), **READY)
    make_server(make_model("b"), **READY, port=8081)

    assert len(said("stop", "--all").splitlines()) == 2
    assert not Server.objects.exclude(state=ServerState.STOPPED).exists()
    assert said("stop", "--all") == "There was nothing to do.\n"


def test_replicas_are_named_by_their_number(said: Any, make_model: MakeModel) -> None:
    make_model("here")

    said("start", "here", "--replica", "1")

    assert Server.objects.get().replica == 1
    with pytest.raises(CommandError, match=r"^here has never been started\."):
        call_command("servers", "stop", "here")
    assert "stopped after" in said("stop", "here", "--replica", "1")


def test_without_waiting_it_is_asked_for_and_no_more(
    said: Any, make_server: MakeServer, worker: ScriptedWorker
) -> None:
    make_server(**READY, launched_at=timezone.now() - timedelta(hours=1))
    worker.does = None
    worker.away = ["local"]

    out = said("restart", "qwen3_4p0b_q4km_fast", "--no-wait")

    assert out == "Asked for qwen3_4p0b_q4km_fast to be running.\n"
    assert said("stop", "qwen3_4p0b_q4km_fast", "--no-wait").endswith("to be stopped.\n")


def test_for_machines_there_is_what_the_api_answers(said: Any, make_model: MakeModel) -> None:
    make_model("here")

    one = json.loads(said("start", "here", "--json"))
    many = json.loads(said("stop", "--all", "--json"))

    assert (one["status"], one["port"], one["startup_time_seconds"]) == ("started", 8080, 1.5)
    assert [each["status"] for each in many["servers"]] == ["stopped"]
    assert many["failed"] == []


@pytest.mark.parametrize("is_queue_down", [True, False])
def test_what_nobody_does_now_is_written_down_and_done_later(
    make_model: MakeModel, worker: ScriptedWorker, is_queue_down: bool
) -> None:
    make_model("here")
    worker.has_queue = not is_queue_down
    worker.away = ["local"]

    with pytest.raises(CommandError, match="is done when it is back") as error:
        call_command("servers", "start", "here")

    assert ("Redis" if is_queue_down else "No worker of node 'local'") in str(error.value)
    assert error.value.returncode == 1
    assert Server.objects.get().wanted == Wanted.RUNNING


def test_ctrl_c_ends_the_waiting_and_not_the_work(
    make_model: MakeModel, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("here")
    worker.does = None

    def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)

    with pytest.raises(CommandError, match="it goes on") as error:
        call_command("servers", "start", "here")

    assert error.value.returncode == 130
    assert Server.objects.get().wanted == Wanted.RUNNING


def test_who_takes_a_start_back_is_named(make_model: MakeModel, worker: ScriptedWorker) -> None:
    make_model("here")

    def taken_back(_server: Server) -> Fields:
        return {"wanted": Wanted.STOPPED, "asked_by": "bob", "asked_why": "in the admin"}

    worker.does = taken_back

    with pytest.raises(CommandError, match="bob has asked for HERE to be stopped"):
        call_command("servers", "start", "here")
