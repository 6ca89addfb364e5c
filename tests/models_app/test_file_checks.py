"""Asking a worker to read a model's files, or to ask the hub: by the API and in the admin."""

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app import file_checks, tasks
from models_app import registry as models_registry
from models_app.audit_models import AuditEntry
from models_app.locks import node_lock
from models_app.models import DiscoveredModel
from models_app.taskstates import Followed, TaskState
from models_app.version_models import HubState, ModelVersion
from tests.models_app.hubs import COMMIT, Content, Hub, make_model
from tests.models_app.hubs.fixtures import hub, node_folders
from tests.models_app.scans import add_to_cache, set_main

__all__ = ["hub", "node_folders"]

pytestmark = pytest.mark.django_db(transaction=True)

REPO = "org/Tiny-1B-GGUF"
FILE = "Tiny-1B-Q8_0.gguf"
PAGE = "admin:models_app_discoveredmodel_change"
TASK_ID = "11111111-2222-3333-4444-555555555555"


class Done:
    """What Celery gives for a queued task; this one has ended, its result by way of JSON."""

    id = TASK_ID

    def __init__(self, result: dict[str, Any] | None) -> None:
        self.result: Any = json.loads(json.dumps(result))

    def ready(self) -> bool:
        return self.result is not None

    def failed(self) -> bool:
        return False


@pytest.fixture
def model(hub: Hub, node_folders: Path, settings: Settings) -> DiscoveredModel:
    """A model in the cache, as the hub has it."""
    content = hub.add(REPO, make_model(node_folders / "given", FILE))
    return register(content, node_folders, settings)


def register(content: Content, folder: Path, settings: Settings) -> DiscoveredModel:
    cache = folder / "hf" / "hub"
    add_to_cache(cache, REPO, COMMIT, FILE, content.path.read_bytes(), blob=content.sha256)
    set_main(cache, REPO, COMMIT)
    settings.MODEL_SCAN_PATH = [cache]
    models_registry.rescan("local")
    return DiscoveredModel.objects.get()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> dict[str, Followed]:
    """A worker that does at once what it is asked for; what became of it can be followed."""
    known: dict[str, Followed] = {}

    def enqueue(task: Any, pk: int, who: str, *, node: str) -> Done:
        assert (bool(who), node) == (True, "local")
        done = file_checks.verify(pk) if task is tasks.verify_model else file_checks.check(pk)
        known[TASK_ID] = Followed(TaskState.SUCCESS, result=done)
        return Done(done)

    monkeypatch.setattr("models_app.file_check_service.enqueue", enqueue)
    monkeypatch.setattr("models_app.file_check_service.require_worker", lambda _node: None)
    monkeypatch.setattr("models_app.file_check_progress.follow", lambda task_id: known[task_id])
    return known


def ask(client: Client, model: DiscoveredModel, what: str, query: str = "") -> tuple[int, Any]:
    response = client.post(f"/api/models/{model.model_id}/{what}{query}")
    return response.status_code, response.json()


@pytest.mark.usefixtures("worker")
def test_the_api_verifies_and_keeps_the_verdict_with_the_version(
    client: Client, model: DiscoveredModel
) -> None:
    status, body = ask(client, model, "verify")

    assert (status, body["is_sound"], body["files"][0]["file"]) == (200, True, FILE)
    assert "problem" not in body
    (version,) = client.get(f"/api/models/{model.model_id}").json()["versions"]
    assert (version["revision"], version["is_current"]) == (COMMIT, True)
    assert (version["is_sound"], version["verified_at"] is not None) == (True, True)
    entry = AuditEntry.objects.get(action="verify")
    assert (entry.action, entry.target_id, entry.after) == (
        "verify",
        model.model_id,
        {"what": "verify"},
    )


@pytest.mark.usefixtures("worker")
def test_the_api_asks_the_hub(client: Client, model: DiscoveredModel) -> None:
    status, body = ask(client, model, "check")

    assert (status, body["state"], body["hub_commit"]) == (200, "same", COMMIT)
    assert ModelVersion.objects.get().hub_state == HubState.SAME


def test_what_is_not_done_in_time_can_be_followed(
    client: Client, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.file_check_service.require_worker", lambda _node: None)
    monkeypatch.setattr(
        "models_app.file_check_service.enqueue", lambda *_args, **_options: Done(None)
    )

    status, body = ask(client, model, "verify", "?wait=0")

    assert status == 202
    assert body == {
        "message": f"The verification of {model.model_id} has been queued",
        "task_id": TASK_ID,
        "status_url": f"/api/tasks/{TASK_ID}",
    }


@pytest.mark.usefixtures("worker")
def test_what_cannot_be_done_has_a_status_of_its_own(
    client: Client, model: DiscoveredModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with node_lock("verify"):
        assert ask(client, model, "verify")[0] == 409
    hub.api_answers = [(503, {})]
    assert ask(client, model, "check")[0] == 503
    hub.gated, hub.hides_gated = {REPO}, True
    status, body = ask(client, model, "check")
    assert (status, "HF_TOKEN" in body["detail"]) == (409, True)
    Path(model.blob_path).unlink()
    status, body = ask(client, model, "verify")
    assert (status, body["detail"].endswith("a file is missing.")) == (502, True)
    assert client.post("/api/models/nope/verify").status_code == 404
    assert ask(client, model, "check", "?wait=soon")[0] == 400


@pytest.mark.usefixtures("worker")
def test_a_models_page_shows_its_versions_and_what_was_asked(
    admin_client: Client, model: DiscoveredModel, hub: Hub, node_folders: Path
) -> None:
    blob = Path(model.blob_path)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    hub.add(REPO, make_model(node_folders / "newer", FILE, 0.3))

    for name in ("verify", "hub_check"):
        url = reverse(f"admin:models_app_discoveredmodel_{name}", args=[model.pk])
        answer = admin_client.post(url)
        assert answer.headers["Location"].endswith(f"/{model.pk}/change/#versions")
        told = unescape(admin_client.get(reverse(PAGE, args=[model.pk])).content.decode())

    assert COMMIT[:12] in told
    assert "not sound" in told
    assert "Its files are not what they should be" in told
    assert "The hub has other files of it" in told
    assert f"manage.py pull {REPO}:Q8_0" in told


def test_a_verification_is_followed_on_the_page(
    admin_client: Client, model: DiscoveredModel, worker: dict[str, Followed]
) -> None:
    admin_client.post(reverse("admin:models_app_discoveredmodel_verify", args=[model.pk]))

    def page() -> str:
        return admin_client.get(reverse(PAGE, args=[model.pk])).content.decode()

    assert "Sound: every byte is what it should be." in page()
    worker[TASK_ID] = Followed(TaskState.PENDING)
    assert "it waits for the worker" in page()
    progress = {"done_bytes": 1500, "total_bytes": 2000}
    worker[TASK_ID] = Followed(TaskState.RUNNING, progress=progress)
    assert "Reading every byte: 75 %" in page()
    assert 'max="2000" value="1500"' in page()
    worker[TASK_ID] = Followed(TaskState.FAILURE)
    assert "worker&#x27;s log says why" in page()


def test_who_may_only_look_asks_for_nothing(client: Client, model: DiscoveredModel) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_discoveredmodel"))
    client.force_login(user)

    for name in ("verify", "hub_check"):
        url = reverse(f"admin:models_app_discoveredmodel_{name}", args=[model.pk])
        assert client.get(url).status_code == 405
        assert client.post(url).status_code == 403
    page = client.get(reverse(PAGE, args=[model.pk])).content.decode()
    assert 'id="versions"' in page
    assert "Ask the hub" not in page
