import pytest

from models_app.models import DiscoveredModel
from servers_app.models import Server, Wanted
from tests.conftest import MakeModel
from tests.pings import pongs
from tests.servers_app.fleets import copy_to, make_node


@pytest.fixture(autouse=True)
def _every_port_is_free_and_a_worker_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)
    monkeypatch.setattr("celery.app.control.Control.broadcast", pongs)


@pytest.fixture
def model(make_model: MakeModel) -> DiscoveredModel:
    """A model whose home is this node, with a copy on `b`; `c` has none."""
    for name in ("local", "b", "c"):
        make_node(name)
    model = make_model("m")
    copy_to(model, "b")
    return model


def wanted() -> list[tuple[str, int]]:
    """Return the node and the replica of each server that is to run."""
    rows = Server.objects.filter(wanted=Wanted.RUNNING).order_by("node", "replica")
    return list(rows.values_list("node", "replica"))
