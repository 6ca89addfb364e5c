"""A server is launched with the files of its own node, wherever its model has its home."""

import pytest
from django.utils import timezone

from models_app.copy_models import ModelCopy
from models_app.models import DiscoveredModel, ScanRoot
from servers_app import services
from servers_app.models import Server, ServerState, Wanted
from servers_app.supervisor import row
from tests.conftest import MakeModel
from tests.servers_app.supervisor.conftest import SetMode, settled

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "/here/Qwen3-4B.gguf"


@pytest.fixture
def far(make_model: MakeModel) -> DiscoveredModel:
    """A model whose home is another node."""
    return make_model(root=ScanRoot.objects.create(node="far", path="/models"))


@pytest.fixture
def copied(far: DiscoveredModel) -> DiscoveredModel:
    """The same, with a copy on this node."""
    root = ScanRoot.objects.create(node="local", path="/here")
    ModelCopy.objects.create(model=far, node="local", root=root, file_path=HERE, blob_path=HERE)
    return far


def on_this_node(model: DiscoveredModel) -> Server:
    return Server.objects.create(
        model=model, node="local", wanted=Wanted.RUNNING, requested_at=timezone.now()
    )


def test_a_copy_is_launched_with_its_own_paths(
    copied: DiscoveredModel, stand_in: SetMode
) -> None:
    server = settled(on_this_node(copied))

    assert server.state == ServerState.READY, server.last_error
    assert server.argv[server.argv.index("--model") + 1] == HERE
    assert DiscoveredModel.objects.get().file_path == copied.file_path  # of its home

    again = settled(server)  # nor is it taken for a server of something else
    assert (again.state, again.pid) == (ServerState.READY, server.pid)
    services.request_stop(server, at_once=True)
    assert settled(server).state == ServerState.STOPPED


def test_a_model_that_is_not_on_the_node_is_refused_with_what_to_do(
    far: DiscoveredModel, stand_in: SetMode
) -> None:
    server = settled(on_this_node(far))

    assert server.state == ServerState.FAILED
    assert server.last_error == (
        f"{far.model_id} is not on node local. Copy it there: manage.py copy {far.model_id} "
        "--to local; or rescan that node."
    )
    assert server.port is None


def test_a_server_is_stopped_whose_files_have_gone_from_its_node(
    copied: DiscoveredModel, stand_in: SetMode
) -> None:
    server = settled(on_this_node(copied))
    ModelCopy.objects.all().delete()

    services.request_stop(server, at_once=True)

    assert settled(server).state == ServerState.STOPPED


def test_a_copy_that_cannot_run_is_not_launched(
    copied: DiscoveredModel, stand_in: SetMode
) -> None:
    ModelCopy.objects.update(problem="its bytes are not what they should be")

    server = settled(on_this_node(copied))

    assert server.last_error == "its bytes are not what they should be."
    loaded = row.load(server.pk)
    assert loaded is not None
    with pytest.raises(RuntimeError):
        loaded.model.save()
