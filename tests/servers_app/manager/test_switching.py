"""POST /ai/switch-model: the current model, its server, and what it is told."""

from typing import Any

import pytest
from pytest_django import Settings

from models_app.audit_models import Action, AuditEntry
from models_app.download_models import Download, DownloadState
from profiles_app.models import Start
from servers_app.gateway.table import read_table
from servers_app.gateway.wishes import Wish
from servers_app.manager.current import current_model
from servers_app.manager.switching import finish, switch_when_there
from servers_app.manager_models import CurrentModel, SwitchRequest
from servers_app.models import Server, ServerState, Wanted
from tests.api.document import check_answer
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.manager.conftest import Call
from tests.servers_app.scripted_worker import ScriptedWorker, fails

pytestmark = pytest.mark.django_db(transaction=True)

READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


def checked(answer: Any) -> Any:
    check_answer("post", "/ai/switch-model", answer)
    return answer.json()


def test_a_model_that_is_loaded_is_switched_to_at_once(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("here"), **READY)

    answer = ask("switch-model", {"model_name": "here"})

    body = checked(answer)
    assert answer.status_code == 200
    assert set(body) == {"success", "data", "message", "timestamp"}
    assert body["success"] is True
    assert body["message"] == "Successfully switched to here"
    data = body["data"]
    assert (data["previous_model"], data["current_model"]) == (None, "here")
    assert (data["status"], data["was_loaded"]) == ("active", True)
    assert isinstance(data["load_time_ms"], int)
    assert Server.objects.get().pid == 4242
    current = current_model()
    assert current is not None
    assert current.model_id == "here"


@pytest.mark.usefixtures("worker")
def test_one_that_does_not_run_is_enabled_and_started(
    ask: Call, make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    before = make_server(make_model("before"), **READY)
    CurrentModel.objects.create(pk=1, model=before.model)
    make_model("after")
    profile = make_profile("mine", "before", is_active=True, start=Start.REQUEST)

    answer = ask("switch-model", {"model_name": "after", "auto_pull": False})

    data = checked(answer)["data"]
    assert (answer.status_code, data["status"]) == (200, "active")
    assert (data["previous_model"], data["current_model"]) == ("before", "after")
    members = profile.members.values_list("model_id", flat=True)
    assert list(members) == ["before", "after"]
    before.refresh_from_db()
    assert (before.state, before.wanted) == (ServerState.READY, Wanted.RUNNING)
    assert read_table().chosen("current") == read_table().routes_for(Wish("after"))[0]


def test_what_was_changed_is_in_the_audit(
    ask: Call, make_model: MakeModel, make_server: MakeServer
) -> None:
    for number, name in enumerate(("a", "b")):
        make_server(make_model(name), **READY, port=8080 + number)

    for name in ("a", "b", "b"):
        ask("switch-model", {"model_name": name})

    entries = AuditEntry.objects.filter(action=Action.SWITCH).order_by("pk")
    assert [(one.before, one.after) for one in entries] == [
        ({"current": None}, {"current": "a"}),
        ({"current": "a"}, {"current": "b"}),
    ]


def test_one_that_takes_longer_is_answered_as_loading(
    ask: Call, worker: ScriptedWorker, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    worker.does = None
    make_model("slow")
    make_profile("mine", "slow", is_active=True)

    answer = ask("switch-model?wait=0.1", {"model_name": "slow"})

    data = checked(answer)["data"]
    assert (answer.status_code, data["status"]) == (202, "loading")
    assert (data["current_model"], data["load_time_ms"]) == ("slow", None)
    assert data["status_url"] == "/ai/model-status"


def test_one_that_fails_to_load_is_told_why(
    ask: Call, worker: ScriptedWorker, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    worker.does = fails()
    make_model("broken")
    make_profile("mine", "broken", is_active=True)

    answer = ask("switch-model", {"model_name": "broken"})

    body = checked(answer)
    assert (answer.status_code, body["success"], body["code"]) == (502, False, "failed")
    assert "does not know --bogus" in body["error"]


@pytest.mark.usefixtures("worker")
def test_without_an_active_profile_it_says_what_to_do(ask: Call, make_model: MakeModel) -> None:
    make_model("here")

    answer = ask("switch-model", {"model_name": "here"})

    assert (answer.status_code, checked(answer)["code"]) == (409, "not_switchable")
    assert "no profile is active" in answer.json()["error"]
    assert current_model() is None


def test_without_a_worker_nothing_is_changed(
    ask: Call, worker: ScriptedWorker, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    worker.away = {"local"}
    make_model("here")
    profile = make_profile("mine", is_active=True)

    answer = ask("switch-model", {"model_name": "here"})

    assert (answer.status_code, checked(answer)["code"]) == (503, "no_worker")
    assert current_model() is None
    assert not profile.members.exists()


@pytest.mark.usefixtures("worker")
def test_a_model_whose_file_is_gone_is_refused(
    ask: Call, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("gone", is_missing=True)
    make_profile("mine", "gone", is_active=True)

    answer = ask("switch-model", {"model_name": "gone"})

    assert (answer.status_code, checked(answer)["code"]) == (409, "not_launchable")


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        pytest.param({}, 400, "model_name: This field is required", id="nothing"),
        pytest.param([], 400, "", id="a list"),
        pytest.param({"model_name": 7}, 400, "model_name", id="a number"),
        pytest.param({"model_name": ""}, 400, "model_name", id="empty"),
        pytest.param({"model_name": "x" * 400}, 400, "model_name", id="too long"),
        pytest.param({"model_name": "a", "auto_pull": "yes"}, 400, "auto_pull", id="a word"),
        pytest.param({"model_name": "a", "auto": True}, 400, "auto", id="unknown"),
        pytest.param(
            {"model_name": "a b", "auto_pull": True}, 404, "Model not found: a b", id="no name"
        ),
        pytest.param({"model_name": "mistral:7b"}, 404, "With auto_pull: true", id="not here"),
        pytest.param({"model_name": "Twin"}, 409, "one, two", id="ambiguous"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    ask: Call, make_model: MakeModel, body: object, code: int, said: str
) -> None:
    for model_id in ("one", "two"):
        make_model(model_id, display_name="Twin")

    answer = ask("switch-model", body)

    assert answer.status_code == code
    assert checked(answer)["success"] is False
    assert said in answer.json()["error"]


# -- when a download has ended


@pytest.fixture
def fetched(make_model: MakeModel, make_profile: MakeProfile) -> Download:
    make_profile("mine", is_active=True)
    download = Download.objects.create(
        node="local", source="ollama", reference="mistral:7b", state=DownloadState.RUNNING
    )
    SwitchRequest.objects.create(download=download, who="ada")
    make_model("mistral", identity="ollama:mistral:7b", repo_id="mistral:7b")
    return download


def end(download: Download, state: str, **fields: object) -> None:
    Download.objects.filter(pk=download.pk).update(state=state, **fields)


def test_a_switch_waits_until_its_download_has_finished(
    fetched: Download, worker: ScriptedWorker, settings: Settings, make_model: MakeModel
) -> None:
    assert finish("local") == 0
    assert SwitchRequest.objects.exists()

    worker.away = {"local"}  # the worker that finishes it does not ask for itself
    model = make_model("other")
    end(fetched, DownloadState.FINISHED, model=model)
    assert finish("elsewhere") == 0
    assert finish("local") == 1
    assert finish("local") == 0

    current = CurrentModel.objects.get()
    assert (current.model, current.who) == (model, "ada")
    assert Server.objects.get().wanted == Wanted.RUNNING
    assert not SwitchRequest.objects.exists()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("asked_for", ["a model that is here", "another that is not"])
def test_the_last_choice_holds_and_not_the_download_that_ends_last(
    ask: Call, fetched: Download, make_model: MakeModel, asked_for: str
) -> None:
    if asked_for == "a model that is here":
        make_model("later")
        assert ask("switch-model", {"model_name": "later"}).status_code in (200, 202)
    else:
        later = Download.objects.create(
            node="local", source="ollama", reference="later:7b", state=DownloadState.RUNNING
        )
        switch_when_there(later, who="eve")
        end(later, DownloadState.FINISHED, model=make_model("later"))
        assert finish("local") == 1

    end(fetched, DownloadState.FINISHED, model=make_model("earlier"))

    assert finish("local") == 0
    current = current_model()
    assert current is not None
    assert current.model_id == "later"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("state", [DownloadState.FAILED, DownloadState.CANCELLED])
def test_a_download_that_came_to_nothing_is_switched_to_by_nobody(
    fetched: Download, state: str
) -> None:
    end(fetched, state)

    assert finish("local") == 0
    assert not SwitchRequest.objects.exists()
    assert current_model() is None


@pytest.mark.usefixtures("worker")
def test_a_switch_that_cannot_be_made_is_given_up(
    fetched: Download, make_model: MakeModel
) -> None:
    model = make_model("broken", problem="incomplete: shard 2 of 3 is missing")
    end(fetched, DownloadState.FINISHED, model=model)

    assert finish("local") == 0
    assert not SwitchRequest.objects.exists()
    assert current_model() is None
