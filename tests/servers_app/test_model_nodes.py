"""On which nodes a model's files are: what the REST calls, the admin and the commands show."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from models_app.copies import as_on
from models_app.copy_models import ModelCopy
from models_app.file_checks import verify
from models_app.integrity import UNSOUND
from models_app.models import DiscoveredModel, ScanRoot
from models_app.versions import current_version
from tests.conftest import MakeModel
from tests.models_app.ggufs import write_gguf

REGISTRY = "/api/models/registry"


@pytest.fixture
def client(admin_client: Client) -> Client:
    return admin_client


@pytest.fixture
def models(make_model: MakeModel) -> dict[str, DiscoveredModel]:
    """`both` is at home on far and has a copy here; the others are on one node each."""
    far, local = (
        ScanRoot.objects.create(node=node, path=f"/{node}") for node in ("far", "local")
    )
    made = {
        "both": make_model("both", root=far),
        "far": make_model("far", root=far),
        "here": make_model("here", root=local),
        "gone": make_model("gone", root=far, is_missing=True),
    }
    ModelCopy.objects.create(
        model=made["both"],
        node="local",
        root=local,
        file_path="/local/both.gguf",
        blob_path="/local/both.gguf",
    )
    return made


def test_the_registry_says_on_which_nodes_each_is(
    client: Client, models: dict[str, DiscoveredModel]
) -> None:
    shown = client.get(REGISTRY).json()["models"]

    assert {name: model["nodes"] for name, model in shown.items()} == {
        "both": ["far", "local"],
        "far": ["far"],
        "here": ["local"],
        "gone": [],
    }
    one = client.get("/api/models/both").json()
    assert (one["node"], one["nodes"]) == ("far", ["far", "local"])
    assert one["file_path"] == models["both"].file_path


@pytest.mark.parametrize(
    ("node", "expected"),
    [("far", {"both", "far", "gone"}), ("local", {"both", "here"}), ("nowhere", set())],
)
def test_the_registry_shows_the_models_of_a_node(
    client: Client, models: dict[str, DiscoveredModel], node: str, expected: set[str]
) -> None:
    assert set(client.get(f"{REGISTRY}?node={node}").json()["models"]) == expected
    page = client.get(f"{REGISTRY}?node={node}&page=1&page_size=1").json()
    assert page["count"] == len(expected)
    tier = client.get(f"/api/models/tiers/fast?node={node}").json()
    assert {model["model_id"] for model in tier} == expected


def test_the_list_in_the_admin_is_filtered_by_node(
    client: Client, models: dict[str, DiscoveredModel]
) -> None:
    url = reverse("admin:models_app_discoveredmodel_changelist")

    text = client.get(url, {"node": "local"}).content.decode()

    assert "BOTH" in text
    assert "HERE" in text
    assert f'id="model-{models["far"].pk}"' not in text
    ModelCopy.objects.all().delete()
    ScanRoot.objects.filter(node="local").delete()
    assert "By node" not in client.get(url).content.decode()


def test_the_page_of_a_model_says_where_its_copies_are(
    client: Client, models: dict[str, DiscoveredModel]
) -> None:
    def page(name: str) -> str:
        url = reverse("admin:models_app_discoveredmodel_change", args=[models[name].pk])
        return client.get(url).content.decode()

    assert "<dt>Nodes</dt><dd>far, local</dd>" in page("both")
    assert "/local/both.gguf" in page("both")
    assert "<dt>Node</dt><dd>far</dd>" in page("far")
    assert "On other nodes" not in page("far")


@pytest.mark.django_db
def test_the_command_shows_nodes_where_there_are_several(
    models: dict[str, DiscoveredModel], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("models", "list")
    assert "far, local" in capsys.readouterr().out
    call_command("models", "info", "both")
    assert "far, local" in capsys.readouterr().out
    call_command("models", "list", "--json")
    shown = {model["model_id"]: model["nodes"] for model in json.loads(capsys.readouterr().out)}
    assert (shown["both"], shown["gone"]) == (["far", "local"], [])

    DiscoveredModel.objects.exclude(model_id="here").delete()
    call_command("models", "list")
    assert "Nodes" not in capsys.readouterr().out


@pytest.mark.django_db
def test_the_command_looks_at_the_files_of_this_node(
    models: dict[str, DiscoveredModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_gguf(tmp_path / "both.gguf")
    ModelCopy.objects.update(file_path=str(path), blob_path=str(path))
    DiscoveredModel.objects.update(size_bytes=path.stat().st_size)

    call_command("models", "validate", "both")
    assert "both: sound" in capsys.readouterr().out
    with pytest.raises(CommandError, match="far is not on node local"):
        call_command("models", "validate", "far")


@pytest.mark.django_db
def test_a_copy_that_is_not_what_it_should_be_is_not_launched_and_its_home_is(
    models: dict[str, DiscoveredModel], tmp_path: Path
) -> None:
    model = models["both"]
    path = write_gguf(tmp_path / "both.gguf")
    ModelCopy.objects.update(file_path=str(path), blob_path=str(path))
    version = current_version(model)
    version.sha256 = {"both.gguf": "0" * 64}
    version.save()

    found = verify(model.pk)

    assert (found["is_sound"], found["problem"]) == (False, "")
    assert ModelCopy.objects.get().problem == UNSOUND
    assert not as_on(model, "local").is_launchable
    assert model.is_launchable
    version.refresh_from_db()
    assert (version.is_sound, version.verified_at) == (None, None)

    version.sha256 = {"both.gguf": found["files"][0]["sha256"]}
    version.save()
    assert verify(model.pk)["is_sound"]
    assert as_on(model, "local").is_launchable


@pytest.mark.django_db
def test_files_of_another_node_are_not_looked_for_here(
    models: dict[str, DiscoveredModel],
) -> None:
    assert verify(models["far"].pk)["code"] == "elsewhere"
