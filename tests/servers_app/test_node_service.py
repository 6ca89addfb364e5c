"""What people decide of nodes, by the API, a command and the admin; and who may."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site.groups import OPERATOR, VIEWER
from models_app.audit_models import Action, AuditEntry
from models_app.copy_models import ModelCopy
from models_app.errors import UnknownNodeError
from models_app.models import ScanRoot
from servers_app.errors import NodeNotSilentError
from servers_app.models import EngineBuild, Node, Server, ServerState, Wanted
from servers_app.node_list import shown
from servers_app.node_service import forget
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.test_node_admin import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def here(settings: Settings) -> Node:
    facts = {"version": settings.MAGI_VERSION}
    return Node.objects.create(name="local", heartbeat_at=Now(), facts=facts)


@pytest.fixture
def gone() -> Node:
    at = Now() - timedelta(hours=1)
    return Node.objects.create(name="gone", address="10.0.0.9", heartbeat_at=at)


def call(client: Client, method: str, path: str) -> Any:
    answer = getattr(client, method)(f"/api/nodes{path}", HTTP_HOST="localhost")
    return answer.status_code, answer.json()


def test_a_node_is_shown_with_how_it_is(
    client: Client, here: Node, gone: Node, make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model("m", root=ScanRoot.objects.create(node="local", path="/srv"))
    ModelCopy.objects.create(model=model, node="gone", file_path="/m", blob_path="/m")
    make_server(model, node="gone", state=ServerState.READY, port=8090, wanted=Wanted.RUNNING)

    status, body = call(client, "get", "")

    assert (status, body["count"]) == (200, 2)
    lost, alive = body["nodes"]
    assert (lost["name"], lost["state"], alive["state"]) == ("gone", "silent", "alive")
    assert 3600 <= lost["heartbeat_age_seconds"] < 3700
    assert (lost["models"], alive["models"]) == (1, 1)
    assert (lost["servers"], alive["servers"]) == ({"ready": 1}, {})
    status, detail = call(client, "get", "/gone")
    assert status == 200
    assert [server["model_id"] for server in detail["server_list"]] == ["m"]


def test_an_unknown_node_is_said_with_those_that_there_are(client: Client, here: Node) -> None:
    assert call(client, "get", "/box9") == (
        404,
        {"detail": "Node not found: box9. Available: local."},
    )
    assert call(client, "post", "/box9/cordon")[0] == 404


def test_a_node_is_cordoned_and_uncordoned_and_the_audit_has_it(
    client: Client, here: Node
) -> None:
    status, body = call(client, "post", "/local/cordon")
    assert (status, body["state"], body["is_cordoned"]) == (200, "cordoned", True)
    call(client, "post", "/local/cordon")

    status, body = call(client, "post", "/local/uncordon")
    assert (status, body["state"], body["is_cordoned"]) == (200, "alive", False)

    entries = AuditEntry.objects.order_by("pk").values_list("action", "target_kind", "after")
    assert list(entries) == [
        (Action.CORDON, "node", {"is_cordoned": True}),
        (Action.UNCORDON, "node", {"is_cordoned": False}),
    ]


def test_the_command_cordons_and_names_what_it_does_not_know(
    here: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("nodes", "cordon", "local")
    assert Node.objects.get().is_cordoned
    call_command("nodes", "uncordon", "local")
    assert not Node.objects.get().is_cordoned
    assert "local gets no new servers" in capsys.readouterr().out

    with pytest.raises(CommandError, match="Node not found: box9"):
        call_command("nodes", "cordon", "box9")
    with pytest.raises(CommandError, match="Name the node"):
        call_command("nodes", "forget")


def test_the_button_of_its_page_cordons_for_those_who_may(client: Client, here: Node) -> None:
    url = reverse("admin:servers_app_node_cordon", args=[here.pk])
    assert signed_in(client, VIEWER).post(url).status_code == 403
    operator = signed_in(client, OPERATOR)
    assert operator.get(url).status_code == 405

    shown_page = operator.post(url, {"cordoned": "true"}, follow=True).content.decode()
    assert "gets no new servers" in shown_page
    assert "Uncordon" in shown_page

    operator.post(url, {"cordoned": "false"})
    assert not Node.objects.get().is_cordoned


def test_a_node_that_is_gone_is_forgotten_with_what_was_its_own(
    here: Node, gone: Node, make_model: MakeModel, make_server: MakeServer
) -> None:
    there = ScanRoot.objects.create(node="gone", path="/models")
    srv = ScanRoot.objects.create(node="local", path="/srv")
    copied = make_model("copied", root=there, blob_path="/models/c", file_path="/models/c")
    alone = make_model("alone", root=there)
    ModelCopy.objects.create(
        model=copied, node="local", root=srv, file_path="/srv/c", blob_path="/srv/c"
    )
    ModelCopy.objects.create(
        model=make_model("here", root=srv), node="gone", file_path="/m", blob_path="/m"
    )
    make_server(copied, node="gone", state=ServerState.READY, port=8090)
    EngineBuild.objects.create(node="gone", path="/usr/bin/llama-server")

    what = forget("gone")

    assert (what.servers, what.scan_roots, what.copies) == (1, 1, 1)
    copied.refresh_from_db()
    alone.refresh_from_db()
    assert (copied.root, copied.file_path, copied.is_missing) == (srv, "/srv/c", False)
    assert alone.is_missing
    assert not Server.objects.exists()
    assert not EngineBuild.objects.exists()
    assert not ModelCopy.objects.exists()
    assert [root.node for root in ScanRoot.objects.all()] == ["local"]
    assert [node.name for node in Node.objects.all()] == ["local"]
    entry = AuditEntry.objects.get(target_kind="node")
    assert (entry.action, entry.target_id) == (Action.DELETE, "gone")


def test_a_node_that_is_there_or_has_work_is_not_forgotten(
    here: Node, gone: Node, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("m"), node="gone", wanted=Wanted.RUNNING)

    with pytest.raises(NodeNotSilentError, match="stop its worker first"):
        forget("local")
    with pytest.raises(NodeNotSilentError, match="is to run m: stop these first"):
        forget("gone")
    with pytest.raises(UnknownNodeError):
        forget("box9")
    assert Node.objects.count() == 2


def test_what_people_should_know_of_a_node_is_said(here: Node, settings: Settings) -> None:
    assert shown()[0].warnings == [], "one machine needs no address"

    Node.objects.create(
        name="box2",
        heartbeat_at=Now(),
        facts={
            "version": "0.0.1",
            "key": "f" * 16,
            "engines": {"": {"problem": "/secret/llama-server is not there"}},
        },
    )

    loopback, version, key, engine = shown()[0].warnings
    assert "no other machine reaches them. Set MAGI_NODE_ADDRESS" in loopback
    assert version == f"It runs MAGI 0.0.1, and this is {settings.MAGI_VERSION}."
    assert "MAGI_SECRET_KEY is not the one" in key
    assert "It can start no server" in engine
    assert "/secret" not in engine


def test_many_nodes_cost_as_many_queries_as_one(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rows: list[Any] = [Node(name=f"box{number}") for number in range(20)]
    Node.objects.bulk_create(rows)

    with django_assert_max_num_queries(5):
        assert len(shown()) == 20
