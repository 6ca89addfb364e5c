"""Nodes at the doors: the API, the commands and the admin, which start and move there."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.models import DiscoveredModel
from profiles_app.services import save_yaml
from servers_app import services
from servers_app.models import Server, ServerState
from tests.conftest import MakeModel
from tests.servers_app.moving.conftest import wanted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]

URL = "/api/models/servers/m"


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(f"{URL}/{path}", body or {}, content_type="application/json")


def test_the_api_starts_where_it_is_told(client: Client, model: DiscoveredModel) -> None:
    response = post(client, "start?node=b&wait=0")

    assert response.status_code == 202
    assert response.json()["node"] == "b"
    assert response.json()["is_reachable"] is True


def test_of_two_who_ask_the_api_at_once_the_second_finds_it_placed(
    client: Client, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked before the first one was done, and seen another node as the best."""
    services.request_start(model, node="b")
    monkeypatch.setattr("servers_app.server_api.node_for", lambda *_args: "local")

    assert post(client, "start?wait=0").json()["node"] == "b"

    assert wanted() == [("b", 0)]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("start?node=nowhere", 404, "Available: b, c, local"),
        ("start?node=c", 409, "is not on node c"),
        ("stop?node=nowhere", 404, "Node not found"),
        ("restart?node=nowhere", 404, "Node not found"),
    ],
)
def test_the_api_says_which_nodes_there_are(
    client: Client, model: DiscoveredModel, path: str, status: int, says: str
) -> None:
    response = post(client, path)

    assert response.status_code == status
    assert says in response.json()["detail"]


def test_the_api_keeps_what_is_wanted_of_a_node_that_is_silent(
    client: Client, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_args, **_options: [])

    response = post(client, "start?node=b")

    assert response.status_code == 503
    assert wanted() == [("b", 0)]


def test_the_api_stops_the_one_on_the_node_that_is_named(
    client: Client, model: DiscoveredModel
) -> None:
    for node in ("local", "b"):
        services.request_start(model, node=node)

    post(client, "stop?node=local&wait=0")

    assert wanted() == [("b", 0)]


def test_the_api_moves(client: Client, model: DiscoveredModel) -> None:
    services.request_start(model, node="local", replica=1)

    response = post(client, "move?wait=0", {"replica": 1, "to": "b"})

    assert response.status_code == 202
    assert (response.json()["node"], response.json()["replica"]) == ("b", 1)
    assert response.json()["status_url"] == f"{URL}?replica=1"
    assert wanted() == [("b", 1)]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"to": "b"}, 404, "has never been started"),
        ({"to": "b", "replica": 16}, 400, "replica"),
        ({"two": "b"}, 400, "did you mean to"),
    ],
)
def test_the_api_refuses_a_move_that_cannot_be(
    client: Client, model: DiscoveredModel, body: dict[str, Any], status: int, says: str
) -> None:
    response = post(client, "move", body)

    assert response.status_code == status
    assert says in json.dumps(response.json())


def test_one_whose_node_is_silent_is_called_unreachable_at_each_door(
    client: Client, admin_client: Client, model: DiscoveredModel
) -> None:
    server = services.request_start(model, node="b")
    Server.objects.update(state=ServerState.READY, unreachable_since=timezone.now())

    (told,) = client.get("/api/models/servers").json()["servers"]
    assert (told["is_ready"], told["is_reachable"]) == (False, False)
    assert told["unreachable_since"]
    out = StringIO()
    call_command("servers", "list", "--json", stdout=out)
    assert json.loads(out.getvalue())[0]["is_reachable"] is False
    page = reverse("admin:servers_app_server_change", args=[server.pk])
    assert "unreachable since" in admin_client.get(page).content.decode()


def test_the_command_starts_and_moves(model: DiscoveredModel) -> None:
    call_command("servers", "start", "m", "--node", "local", "--no-wait", stdout=StringIO())
    call_command("servers", "move", "m", "--to", "b", "--no-wait", stdout=StringIO())

    assert wanted() == [("b", 0)]
    with pytest.raises(CommandError, match="Available: b, c, local"):
        call_command("servers", "move", "m", "--to", "nowhere")


def test_a_servers_page_sends_it_to_another_node(
    admin_client: Client, model: DiscoveredModel
) -> None:
    server = services.request_start(model, node="local")
    move = reverse("admin:servers_app_server_move", args=[server.pk])
    page = reverse("admin:servers_app_server_change", args=[server.pk])

    assert move in admin_client.get(page).content.decode()
    form = admin_client.get(move).content.decode()
    assert 'value="b"' in form
    assert 'value="c"' not in form
    admin_client.post(move, {"to": "b"})

    assert wanted() == [("b", 0)]


def test_who_may_only_look_moves_nothing(client: Client, model: DiscoveredModel) -> None:
    server = services.request_start(model, node="local")

    client.post(reverse("admin:servers_app_server_move", args=[server.pk]), {"to": "b"})

    assert wanted() == [("local", 0)]


def test_a_models_page_offers_nodes_only_where_there_is_a_choice(
    admin_client: Client, model: DiscoveredModel, make_model: MakeModel
) -> None:
    alone = make_model("alone")
    pages = [
        admin_client.get(reverse("admin:models_app_discoveredmodel_change", args=[each.pk]))
        for each in (model, alone)
    ]

    offered = [">the best one<" in page.content.decode() for page in pages]

    assert offered == [True, False]
    start = reverse("admin:models_app_discoveredmodel_start", args=[model.pk])
    admin_client.post(start, {"node": "b"})
    assert wanted() == [("b", 0)]


def test_the_plan_names_the_node(
    admin_client: Client, model: DiscoveredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    services.request_start(model, node="local")
    profile = save_yaml("name: A\nenabled_models: [m]\nplacement: {nodes: [b]}\n")

    page = admin_client.get(reverse("admin:profiles_app_profile_plan", args=[profile.pk]))
    call_command("profiles", "activate", "a", "--plan")

    assert "local → b" in page.content.decode()
    assert "m on b moves to another node: from local" in capsys.readouterr().out
    plan = admin_client.get("/api/models/profiles/a/plan").json()
    assert [(each["step"], each["node"]) for each in plan["servers"]] == [("move", "b")]
