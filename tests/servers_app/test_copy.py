"""The doors that copy a model to another node: the command, the API and the admin."""

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app.audit_models import Action, AuditEntry
from models_app.copies import nodes_of
from models_app.download_models import Download, DownloadState
from models_app.downloads import copy_service, worker
from models_app.models import DiscoveredModel
from servers_app.models import Node, Server
from tests.models_app.copying.nodes import TwoNodes, two_nodes
from tests.models_app.hubs import make_model
from tests.models_app.hubs.fixtures import node_folders

__all__ = ["node_folders"]

LIST = "admin:models_app_download_changelist"


@pytest.fixture
def nodes(
    transactional_db: None,
    node_folders: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TwoNodes]:
    for name in ("a", "b"):
        Node.objects.create(name=name, heartbeat_at=Now())
    with two_nodes(node_folders, settings, monkeypatch) as both:
        yield both


@pytest.fixture
def model(nodes: TwoNodes) -> DiscoveredModel:
    make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    return nodes.scanned(nodes.files("a"))


@pytest.fixture
def working(nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of node b that copies at once."""
    monkeypatch.setattr(copy_service, "queue", lambda download: worker.run(download.pk))


def copy(client: Client, model_id: str, body: object, wait: str = "0") -> tuple[int, dict]:  # type: ignore[type-arg]
    response = client.post(
        f"/api/models/{model_id}/copy?wait={wait}", body, content_type="application/json"
    )
    return response.status_code, response.json()


# -- the command


@pytest.mark.usefixtures("working")
def test_the_command_copies_and_tells(
    model: DiscoveredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("copy", model.model_id, "--to", "b")

    said = capsys.readouterr().out
    assert "from a to b." in said
    assert "Copied 200.4 kB, and the hashes are right." in said
    assert nodes_of(model) == ("a", "b")
    assert not Server.objects.exists()
    entry = AuditEntry.objects.filter(action=Action.COPY).get()
    assert (entry.target_name, entry.after) == (
        model.model_id,
        {"node": "b", "source": "node", "reference": model.model_id, "from_node": "a"},
    )


@pytest.mark.usefixtures("working")
def test_a_model_that_is_there_is_told_of_and_no_error(
    model: DiscoveredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("copy", model.model_id, "--to", "b")

    call_command("copy", model.model_id, "--to", "b")

    assert "is on node b already" in capsys.readouterr().out
    assert Download.objects.count() == 1
    call_command("copy", model.model_id, "--to", "b", "--json")
    assert json.loads(capsys.readouterr().out)["state"] == "there"


def test_without_waiting_it_is_written_down(
    model: DiscoveredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("copy", model.model_id, "--to", "b", "--from", "a", "--no-wait", "--json")

    row = json.loads(capsys.readouterr().out)
    assert (row["state"], row["node"], row["from_node"]) == ("queued", "b", "a")
    assert row["reference"] == row["model_id"] == model.model_id


@pytest.mark.usefixtures("working")
def test_what_failed_is_told(nodes: TwoNodes, model: DiscoveredModel) -> None:
    nodes.wire.trouble.is_wrong = True
    Path(model.file_path).unlink()

    with pytest.raises(CommandError, match="a file is missing"):
        call_command("copy", model.model_id, "--to", "b")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--to", "c"], "Node not found: c. Available: a, b"),
        (["--to", "b", "--from", "c"], "Node not found: c. Available: a, b"),
        (["--to", "b", "--from", "b"], "is not on node b"),
    ],
)
def test_nodes_that_there_are_not_are_named(
    model: DiscoveredModel, options: list[str], error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        call_command("copy", model.model_id, *options)

    assert not Download.objects.exists()


# -- the API


@pytest.mark.usefixtures("working")
def test_a_copy_is_waited_for(client: Client, model: DiscoveredModel) -> None:
    status, body = copy(client, model.model_id, {"node": "b"}, wait="10")

    assert (status, body["state"], body["from_node"]) == (200, "finished", "a")
    assert body["message"] == f"{model.model_id} is on node b, not started"
    assert body["files"][0]["sha256"]


def test_a_copy_that_goes_on_is_followed_as_a_download(
    client: Client, model: DiscoveredModel
) -> None:
    status, body = copy(client, model.model_id, {"node": "b", "from": "a"})

    assert (status, body["state"]) == (202, "queued")
    assert body["message"] == f"The copy of {model.model_id} to node b goes on"
    followed = client.get(body["status_url"]).json()
    assert (followed["source"], followed["node"]) == ("node", "b")
    again, second = copy(client, model.model_id, {"node": "b"})
    assert (again, second["id"]) == (202, body["id"])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({}, 400, "node: This field is required."),
        ([], 400, "The body is an object"),
        ({"node": "../b"}, 400, "node: a node's name is of letters"),
        ({"node": "c"}, 404, "Node not found: c."),
        ({"node": "b", "from": "c"}, 404, "Node not found: c."),
        ({"node": "b", "from": "b"}, 409, "is not on node b"),
        ({"node": "a"}, 409, "is on node a already"),
    ],
)
def test_what_cannot_be_copied_says_why(
    client: Client, model: DiscoveredModel, body: object, status: int, detail: str
) -> None:
    answered, said = copy(client, model.model_id, body)

    assert answered == status
    assert detail in said["detail"]
    assert not Download.objects.exists()


@pytest.mark.parametrize("silent", ["a", "b"])
def test_a_node_that_is_silent_is_503(
    client: Client, nodes: TwoNodes, model: DiscoveredModel, silent: str
) -> None:
    nodes.silent.add(silent)

    status, said = copy(client, model.model_id, {"node": "b"})

    assert status == 503
    assert f"No worker of node '{silent}' answers" in said["detail"]


def test_a_model_with_a_problem_is_409(client: Client, model: DiscoveredModel) -> None:
    DiscoveredModel.objects.update(problem="incomplete: shard 2 of 2 is missing")

    status, said = copy(client, model.model_id, {"node": "b"})

    assert status == 409
    assert "cannot be copied: incomplete" in said["detail"]


@pytest.mark.usefixtures("working")
def test_a_full_disk_is_507(client: Client, model: DiscoveredModel, settings: Settings) -> None:
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 2**30

    assert copy(client, model.model_id, {"node": "b"}, wait="10")[0] == 507


def test_a_model_that_there_is_not_is_404(client: Client, nodes: TwoNodes) -> None:
    assert copy(client, "qwen9", {"node": "b"})[0] == 404


def test_no_download_takes_a_node_for_a_hub(client: Client, model: DiscoveredModel) -> None:
    body = {"reference": model.model_id, "source": "node"}
    response = client.post("/api/models/downloads", body, content_type="application/json")

    assert response.status_code == 400


# -- the admin


def page(model: DiscoveredModel) -> str:
    return reverse("admin:models_app_discoveredmodel_change", args=[model.pk])


def form(model: DiscoveredModel) -> str:
    return reverse("admin:models_app_discoveredmodel_copy", args=[model.pk])


def test_a_models_page_offers_the_nodes_that_lack_it_and_are_there(
    admin_client: Client, model: DiscoveredModel
) -> None:
    Node.objects.create(name="gone")

    shown = admin_client.get(page(model)).content.decode()

    assert "<option>b</option>" in shown
    assert "<option>a</option>" not in shown
    assert "<option>gone</option>" not in shown


def test_a_copy_is_asked_for_on_the_page_and_shown_there(
    admin_client: Client, model: DiscoveredModel
) -> None:
    response = admin_client.post(form(model), {"node": "b"}, follow=True)

    row = Download.objects.get()
    shown = unescape(response.content.decode())
    assert f"Copying {model} from a to b." in shown
    assert reverse("admin:models_app_download_change", args=[row.pk]) in shown
    assert "<option>b</option>" not in shown
    listed = admin_client.get(reverse(LIST)).content.decode()
    assert f'id="download-{row.pk}"' in listed
    assert (
        "node a"
        in admin_client.get(
            reverse("admin:models_app_download_change", args=[row.pk])
        ).content.decode()
    )


def test_what_cannot_be_copied_is_told_on_the_page(
    admin_client: Client, model: DiscoveredModel
) -> None:
    response = admin_client.post(form(model), {"node": "c"}, follow=True)

    assert "Not copied: Node not found: c." in response.content.decode()


def test_a_copy_that_stopped_is_tried_again_from_the_list(
    admin_client: Client, model: DiscoveredModel
) -> None:
    row = copy_service.request_copy(model, node="b")
    Download.objects.update(state=DownloadState.FAILED, error="The wire was cut.")
    assert "The wire was cut." in admin_client.get(reverse(LIST)).content.decode()

    admin_client.post(reverse("admin:models_app_download_again", args=[row.pk]))

    row.refresh_from_db()
    assert (row.state, row.error) == (DownloadState.QUEUED, "")


def test_copies_are_for_those_who_may_download(client: Client, model: DiscoveredModel) -> None:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_discoveredmodel"))
    client.force_login(user)

    assert "Copy to node" not in client.get(page(model)).content.decode()
    assert client.post(form(model), {"node": "b"}).status_code == 403
    assert client.get(form(model)).status_code == 405
    assert not Download.objects.exists()
