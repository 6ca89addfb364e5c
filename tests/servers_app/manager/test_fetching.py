"""POST /ai/download-model, and a switch that pulls: from stand-ins of the hub and of Ollama."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from models_app.download_models import Download, DownloadState
from models_app.integrity import is_spoilt, verify_model
from models_app.models import DiscoveredModel
from models_app.registry import rescan
from servers_app import apikeys
from servers_app.apikey_models import Scope
from servers_app.errors import UnknownNameError
from servers_app.manager.current import current_model
from servers_app.manager.names import resolve
from servers_app.manager.switching import finish
from servers_app.manager_models import SwitchRequest
from servers_app.models import Server
from tests.api.document import check_answer
from tests.conftest import MakeModel, MakeProfile
from tests.models_app.hubs import Hub, OllamaRegistry, make_model
from tests.models_app.hubs.fixtures import hub, node_folders, registry
from tests.servers_app.manager.conftest import Call
from tests.servers_app.scripted_worker import ScriptedWorker, fails

__all__ = ["hub", "node_folders", "registry"]

pytestmark = pytest.mark.django_db(transaction=True)

REPO = "org/Tiny-1B-GGUF"
FILE = "Tiny-1B-Q8_0.gguf"
NAME = "tiny:1b"


@pytest.fixture
def ollama(registry: OllamaRegistry, node_folders: Path) -> OllamaRegistry:
    """A registry of Ollama's that has `tiny:1b`."""
    folder = node_folders / "given"
    registry.add(f"library/{NAME}", folder, make_model(folder, FILE))
    return registry


@pytest.fixture
def queued(worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A worker that has taken a download, and does not come to it."""
    numbers: list[int] = []
    monkeypatch.setattr(
        "models_app.downloads.service.enqueue", lambda _task, pk, **_more: numbers.append(pk)
    )
    return numbers


def checked(answer: Any, path: str = "/ai/download-model", method: str = "post") -> Any:
    check_answer(method, path, answer)
    return answer.json()


@pytest.mark.usefixtures("fetching", "ollama")
def test_a_model_of_ollamas_is_fetched_and_not_enabled(
    ask: Call, make_profile: MakeProfile
) -> None:
    profile = make_profile("mine", is_active=True)

    answer = ask("download-model", {"model_name": NAME, "auto_switch": False})

    data = checked(answer)["data"]
    assert answer.status_code == 200
    assert (data["model_name"], data["status"], data["progress"]) == (NAME, "installed", 100)
    assert data["download_size"].endswith("B")
    model = DiscoveredModel.objects.get()
    assert (data["model_id"], data["install_path"]) == (model.model_id, model.file_path)
    assert not profile.members.exists()
    assert current_model() is None
    again = checked(ask("download-model", {"model_name": NAME}))["data"]
    assert (again["status"], again["download_id"]) == ("installed", None)
    assert Download.objects.count() == 1


@pytest.mark.usefixtures("fetching", "node_folders")
def test_a_model_of_the_hubs_is_fetched_and_switched_to(
    ask: Call, hub: Hub, node_folders: Path, make_profile: MakeProfile
) -> None:
    hub.add(REPO, make_model(node_folders / "given", FILE))
    make_profile("mine", is_active=True)

    data = checked(ask("download-model", {"model_name": REPO, "auto_switch": True}))["data"]

    model = DiscoveredModel.objects.get()
    assert (data["status"], data["model_id"]) == ("installed", model.model_id)
    assert current_model() == model
    assert Server.objects.get().wanted == "running"


def test_one_that_is_under_way_is_followed(ask: Call, queued: list[int]) -> None:
    body = {"model_name": "llama2:7b", "auto_switch": True}
    data = checked(ask("download-model?wait=0", body))["data"]

    assert queued == [data["download_id"]]
    assert (data["status"], data["progress"], data["auto_switch"]) == ("queued", 0, True)
    rows = Download.objects.filter(pk=data["download_id"])
    rows.update(
        state=DownloadState.RUNNING,
        total_bytes=3_800_000_000,
        done_bytes=1_710_000_000,
        bytes_per_s=17_416_666.7,
        folder="/models",
    )

    answer = ask(data["status_url"].removeprefix("/ai/"))

    told = checked(answer, "/ai/download-model/{download_id}", "get")
    assert told["message"] == "Download in progress..."
    data = told["data"]
    assert (data["status"], data["progress"]) == ("downloading", 45)
    assert (data["download_size"], data["estimated_time_seconds"]) == ("3.8 GB", 120)
    assert data["install_path"] == "/models"


def test_one_that_has_failed_is_shown_with_why(ask: Call) -> None:
    download = Download.objects.create(
        node="local", source="hub", reference=REPO, state=DownloadState.FAILED,
        error="It took no more.", error_code="disk_full",
    )  # fmt: skip

    body = checked(
        ask(f"download-model/{download.pk}"), "/ai/download-model/{download_id}", "get"
    )

    assert body["message"].endswith("failed: It took no more.")
    assert (body["data"]["status"], body["data"]["error_code"]) == ("failed", "disk_full")


@pytest.mark.usefixtures("fetching", "ollama")
def test_a_model_that_the_registry_does_not_have_is_unknown(ask: Call) -> None:
    for path, body in (
        ("download-model", {"model_name": "llama9:7b"}),
        ("switch-model", {"model_name": "llama9:7b", "auto_pull": True}),
    ):
        answer = ask(path, body)
        assert (answer.status_code, checked(answer, f"/ai/{path}")["code"]) == (404, "unknown")
        assert "llama9:7b" in answer.json()["error"]
    assert not SwitchRequest.objects.exists()


@pytest.mark.usefixtures("fetching", "ollama")
def test_a_disk_that_is_full_is_told_as_that(ask: Call, settings: Settings) -> None:
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 2**30

    for path in ("download-model", "switch-model"):
        more = {"auto_pull": True} if path == "switch-model" else {}
        answer = ask(path, {"model_name": NAME, **more})
        assert (answer.status_code, checked(answer, f"/ai/{path}")["code"]) == (
            507,
            "disk_full",
        )
    assert not DiscoveredModel.objects.exists()


@pytest.mark.usefixtures("fetching", "ollama")
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda file: os.truncate(file, 200), id="cut off"),
    ],
)
def test_a_model_whose_files_are_not_all_here_is_fetched_again(
    ask: Call, make_profile: MakeProfile, spoil: Callable[[Path], None]
) -> None:
    make_profile("mine", is_active=True)
    ask("download-model", {"model_name": NAME})
    model = DiscoveredModel.objects.get()
    model_id, file = model.model_id, Path(model.file_path).resolve()
    for path, body, status in (
        ("download-model", {"model_name": model_id}, "installed"),
        ("switch-model", {"model_name": model_id, "auto_pull": True}, "active"),
    ):
        spoil(file)
        rescan("local")
        assert not DiscoveredModel.objects.get().is_launchable

        data = checked(ask(path, body), f"/ai/{path}")["data"]

        assert (data["status"], data["model_id"]) == (status, model_id)
        assert DiscoveredModel.objects.get().is_launchable


@pytest.mark.usefixtures("fetching")
def test_a_second_tag_of_the_same_file_is_a_name_of_the_same_model(
    ask: Call, ollama: OllamaRegistry, node_folders: Path
) -> None:
    folder = node_folders / "given"
    ollama.add("library/tiny:also", folder, make_model(folder, FILE))

    for name in (NAME, "tiny:also"):
        data = checked(ask("download-model", {"model_name": name}))["data"]
        assert data["status"] == "installed"

    model = DiscoveredModel.objects.get()
    assert {resolve(name) for name in (NAME, "tiny:also", "Tiny:ALSO")} == {model}
    with pytest.raises(UnknownNameError):
        resolve("tiny:other")


@pytest.mark.usefixtures("fetching", "ollama")
@pytest.mark.parametrize(
    ("path", "more", "status"),
    [("download-model", {}, "installed"), ("switch-model", {"auto_pull": True}, "active")],
)
def test_a_model_that_was_verified_and_is_spoilt_is_fetched_again(
    ask: Call, make_profile: MakeProfile, path: str, more: dict[str, Any], status: str
) -> None:
    make_profile("mine", is_active=True)
    ask("download-model", {"model_name": NAME})
    model = DiscoveredModel.objects.get()
    file = Path(model.file_path).resolve()
    right = file.read_bytes()
    file.write_bytes(right[:-3] + b"bad")
    assert verify_model(model).is_sound is False
    assert is_spoilt(model)

    data = checked(ask(path, {"model_name": model.model_id, **more}), f"/ai/{path}")["data"]

    assert (data["status"], data["model_id"]) == (status, model.model_id)
    assert file.read_bytes() == right
    assert not is_spoilt(model)


def test_one_that_came_from_nowhere_is_not(
    ask: Call, queued: list[int], make_model: MakeModel
) -> None:
    make_model("gone", is_missing=True)

    for path, more in (("download-model", {}), ("switch-model", {"auto_pull": True})):
        answer = ask(path, {"model_name": "gone", **more})

        body = checked(answer, f"/ai/{path}")
        assert (answer.status_code, body["code"]) == (409, "not_launchable")
        assert "Nobody knows where it came from" in body["error"]
    assert queued == []


@pytest.mark.usefixtures("fetching", "node_folders")
@pytest.mark.parametrize(
    ("code", "status"), [("gated", 403), ("no_quant", 404), ("offline", 503), ("failed", 502)]
)
def test_each_way_to_fail_has_its_status(
    ask: Call, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    def fail(pk: int) -> None:
        rows = Download.objects.filter(pk=pk)
        rows.update(state=DownloadState.FAILED, error="It is so.", error_code=code)

    monkeypatch.setattr(
        "models_app.downloads.service.enqueue", lambda _task, pk, **_options: fail(pk)
    )

    answer = ask("download-model", {"model_name": REPO})

    assert (answer.status_code, checked(answer)["code"]) == (status, code)
    assert answer.json()["error"] == "It is so."


@pytest.mark.usefixtures("fetching", "ollama")
def test_a_switch_pulls_a_model_that_is_not_here(ask: Call, make_profile: MakeProfile) -> None:
    profile = make_profile("mine", is_active=True)

    answer = ask("switch-model", {"model_name": NAME, "auto_pull": True})

    # It came at once, so there is nothing left to wait for.
    data = checked(answer, "/ai/switch-model")["data"]
    assert (answer.status_code, data["status"]) == (200, "active")
    assert (data["previous_model"], data["current_model"]) == (None, NAME)
    model = DiscoveredModel.objects.get()
    assert current_model() == model
    assert list(profile.members.values_list("model_id", flat=True)) == [model.model_id]
    assert ask("switch-model", {"model_name": NAME}).json()["data"]["current_model"] == NAME


@pytest.mark.usefixtures("fetching", "ollama")
def test_what_was_pulled_and_cannot_be_switched_to_says_why(
    ask: Call, worker: ScriptedWorker, make_profile: MakeProfile
) -> None:
    answer = ask("switch-model", {"model_name": NAME, "auto_pull": True})

    assert (answer.status_code, checked(answer, "/ai/switch-model")["code"]) == (
        409,
        "not_switchable",
    )
    make_profile("mine", is_active=True)
    worker.does = fails()
    rows = DiscoveredModel.objects.all()
    rows.update(is_missing=True)

    answer = ask("switch-model", {"model_name": NAME, "auto_pull": True})

    assert (answer.status_code, checked(answer, "/ai/switch-model")["code"]) == (502, "failed")
    assert "does not know --bogus" in answer.json()["error"]


def test_a_switch_that_pulls_is_made_when_the_download_is_there(
    ask: Call, queued: list[int], make_profile: MakeProfile, db: None
) -> None:
    make_profile("mine", is_active=True)

    answer = ask("switch-model?wait=0", {"model_name": NAME, "auto_pull": True})

    data = checked(answer, "/ai/switch-model")["data"]
    assert (answer.status_code, data["current_model"]) == (202, None)
    assert (data["download"]["status"], data["download"]["auto_switch"]) == ("queued", True)
    assert finish("local") == 0
    assert SwitchRequest.objects.get().download.pk == queued[0]


def test_without_a_worker_nothing_is_asked_for(ask: Call, worker: ScriptedWorker) -> None:
    worker.away = {"local"}

    answer = ask("download-model", {"model_name": REPO})

    assert (answer.status_code, checked(answer)["code"]) == (503, "no_worker")
    assert not Download.objects.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({"model_name": "/etc/passwd"}, "it is a path", id="a path"),
        pytest.param({"model_name": "a b c"}, "no model to fetch", id="words"),
        pytest.param({"model_name": "a", "source": "node"}, "hub, ollama.", id="a source"),
        pytest.param({"auto_switch": True}, "model_name", id="no name"),
        pytest.param({"model_name": "a", "auto_switch": 1}, "auto_switch", id="a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask: Call, body: object, said: str) -> None:
    answer = ask("download-model", body)

    assert answer.status_code == 400
    assert said in checked(answer)["error"]


@pytest.mark.parametrize("number", ["0", "99999999999999999999"])
def test_a_download_that_is_not_there_is_not_found(ask: Call, number: str) -> None:
    answer = ask(f"download-model/{number}")

    body = checked(answer, "/ai/download-model/{download_id}", "get")
    assert (answer.status_code, body["code"]) == (404, "not_found")


def test_where_it_lies_is_for_those_who_may_manage(ask: Call) -> None:
    download = Download.objects.create(
        node="local", source="hub", reference=REPO, folder="/secret", state="running"
    )
    for scope, path in ((Scope.READ, None), (Scope.MANAGE, "/secret")):
        secret = apikeys.new_key(f"for {scope}", scopes=[scope]).secret
        answer = ask(f"download-model/{download.pk}", Authorization=f"Bearer {secret}")
        assert answer.json()["data"]["install_path"] == path


def test_who_may_switch_and_not_download_pulls_nothing(
    client: Client, settings: Settings, queued: list[int]
) -> None:
    settings.MAGI_API_AUTH = "required"
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_profile"))
    client.force_login(user)

    answer = client.post(
        "/ai/switch-model",
        {"model_name": NAME, "auto_pull": True},
        content_type="application/json",
    )

    assert answer.status_code == 403
    assert "models_app.add_download" in checked(answer, "/ai/switch-model")["error"]
    assert queued == []
