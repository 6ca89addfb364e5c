"""A download onto a node, where another node has a model of that name already."""

from pathlib import Path

import pytest

from models_app import registry
from models_app.copies import as_on, nodes_of
from models_app.copy_models import ModelCopy
from models_app.download_models import DownloadState
from models_app.models import DiscoveredModel, ScanRoot
from tests.models_app.hubs import COMMIT, Content, Hub, make_model
from tests.models_app.hubs.fetching import NAME, REPO, fetched
from tests.models_app.scans import add_to_cache

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(hub: Hub, tmp_path: Path) -> Content:
    return hub.add(REPO, make_model(tmp_path / "there", NAME))


def on_node_a(content: Content, folder: Path) -> DiscoveredModel:
    """Have a file in the cache of node a; return the model that it is."""
    cache = folder / "a" / "hub"
    raw = content.path.read_bytes()
    add_to_cache(cache, REPO, COMMIT, NAME, raw, blob=content.sha256)
    ScanRoot.objects.create(node="a", path=str(cache), kind="huggingface")
    registry.rescan("a")
    return DiscoveredModel.objects.select_related("root").get()


def test_what_another_node_has_becomes_a_copy_of_its_model(
    made: Content, tmp_path: Path
) -> None:
    model = on_node_a(made, tmp_path)
    DiscoveredModel.objects.update(tier_override="powerful", notes="ours")

    done = fetched(node="b")

    assert (done.state, done.error, done.model) == (DownloadState.FINISHED, "", model)
    assert nodes_of(model) == ("a", "b")
    assert Path(as_on(model, "b").file_path).read_bytes() == made.path.read_bytes()
    assert DiscoveredModel.objects.count() == ModelCopy.objects.count() == 1
    model.refresh_from_db()
    assert (model.tier_override, model.notes) == ("powerful", "ours")
    assert model.file_path.startswith(str(tmp_path / "a"))


def test_other_files_of_the_same_name_become_a_model_of_their_own(
    made: Content, tmp_path: Path
) -> None:
    model = on_node_a(make_model(tmp_path / "older", NAME, megabytes=0.1), tmp_path)

    done = fetched(node="b")

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert done.model is not None
    assert done.model.pk != model.pk
    assert (nodes_of(model), nodes_of(done.model)) == (("a",), ("b",))
    assert Content.of(Path(done.model.file_path)).sha256 == made.sha256
