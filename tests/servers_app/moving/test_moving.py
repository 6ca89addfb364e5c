"""Starts on a chosen node, moves to another one, and what the doors say of both."""

import time

import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from models_app.errors import NotOnNodeError, UnknownNodeError
from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from profiles_app.services import make_active, save_yaml
from servers_app import services, wanting
from servers_app.errors import NoFreePortError, NoNodeError, NotLaunchableError
from servers_app.lookup import find_server
from servers_app.models import Node, Server, ServerState, Wanted
from servers_app.placing import Choice, place
from tests.at_once import at_once
from tests.conftest import MakeModel
from tests.servers_app.moving.conftest import wanted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]


def active(text: str) -> Profile:
    profile = save_yaml(text)
    make_active(profile)
    return profile


# -- starts


def test_a_start_goes_where_the_profiles_placement_has_it(model: DiscoveredModel) -> None:
    active("name: A\nenabled_models: [m]\nplacement: {rule: pin, nodes: [b, local]}\n")

    assert services.request_start(model).node == "b"
    assert services.request_start(model).node == "b"
    assert wanted() == [("b", 0)]


def test_a_start_on_a_node_that_somebody_names_goes_there(model: DiscoveredModel) -> None:
    services.request_start(model, node="b")

    assert wanted() == [("b", 0)]


@pytest.mark.parametrize(
    ("node", "error", "says"),
    [
        ("nowhere", UnknownNodeError, "Available: b, c, local"),
        ("c", NotOnNodeError, "manage.py copy m --to c"),
    ],
)
def test_a_start_where_it_cannot_be_says_what_can(
    model: DiscoveredModel, node: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        services.request_start(model, node=node)

    assert not Server.objects.exists()


def test_a_cordoned_node_gets_no_new_server_and_keeps_those_it_has(
    model: DiscoveredModel,
) -> None:
    there = services.request_start(model, node="b")
    Node.objects.filter(name="b").update(is_cordoned=True)

    services.request_restart(there)
    with pytest.raises(NoNodeError, match="cordoned"):
        services.request_start(model, replica=1, node="b")

    assert services.request_start(model, replica=1).node == "local"


def test_a_model_whose_home_has_lost_it_starts_where_its_copy_is(
    model: DiscoveredModel,
) -> None:
    model.is_missing = True
    model.save()

    assert services.request_start(model).node == "b"


def test_a_model_that_is_nowhere_is_not_launchable(make_model: MakeModel) -> None:
    with pytest.raises(NotLaunchableError, match="missing"):
        place(make_model("gone", is_missing=True), None, replica=0)


def test_all_replicas_of_a_model_are_enabled_at_once(model: DiscoveredModel) -> None:
    active("name: A\nenabled_models: [{model_id: m, replicas: 3}]\n")

    services.set_enabled([model], is_enabled=True)

    assert [replica for _, replica in sorted(wanted(), key=lambda it: it[1])] == [0, 1, 2]
    assert {node for node, _ in wanted()} == {"local", "b"}


def test_one_that_waits_for_a_request_on_a_silent_node_starts_on_one_that_is_there(
    model: DiscoveredModel,
) -> None:
    services.offer(model, node="b")
    Node.objects.filter(name="b").update(heartbeat_at=None)

    assert services.request_start(model).node == "local"

    offered = Server.objects.filter(on_request=True)
    assert [server.node for server in offered] == ["local"]


def test_one_that_waits_for_a_request_waits_for_its_node_where_no_other_may_have_it(
    model: DiscoveredModel,
) -> None:
    services.offer(model, node="b")
    Node.objects.filter(name="b").update(heartbeat_at=None)
    Node.objects.filter(name="local").update(is_cordoned=True)

    assert services.request_start(model).node == "b"


@pytest.mark.django_db(transaction=True)
def test_two_who_start_a_model_at_once_start_one_server(
    model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between their looks at the nodes, another one may have become the best."""
    best = iter(["local", "b"])

    def place_slowly(*_args: object, **_options: object) -> Choice:
        choice = Choice(next(best))
        time.sleep(0.2)
        return choice

    monkeypatch.setattr(wanting, "place", place_slowly)

    at_once([lambda: services.request_start(model)] * 2)

    assert wanted() == [("local", 0)]


# -- ports


def test_a_port_is_of_the_range_of_its_node_and_is_not_tried_here(
    model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: False)
    Node.objects.filter(name="b").update(facts={"port_range": [9100, 9100]})

    assert services.request_start(model, node="b").port == 9100
    with pytest.raises(NoFreePortError, match="9100 to 9100 of node b"):
        services.request_start(model, node="b", replica=1)


def test_before_a_node_has_said_its_range_it_is_as_here(
    model: DiscoveredModel, settings: Settings
) -> None:
    settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END = 8300, 8310

    assert services.request_start(model, node="b").port == 8300


# -- moves


def test_a_move_wants_it_stopped_here_and_running_there(model: DiscoveredModel) -> None:
    server = services.request_start(model, node="local", replica=1)

    moved = services.request_move(server, to="b", who="ann", why="maintenance")

    assert wanted() == [("b", 1)]
    assert (moved.node, moved.replica) == ("b", 1)
    server.refresh_from_db()
    assert server.wanted == Wanted.STOPPED
    assert server.asked_why == "maintenance; moved from local to b"
    entry = AuditEntry.objects.get(action="update")
    assert (entry.who, entry.target_name) == ("ann", "m (replica 1) on b")
    assert (entry.before, entry.after) == ({"node": "local"}, {"node": "b"})


def test_a_move_without_a_node_goes_to_the_best_other_one(model: DiscoveredModel) -> None:
    server = services.request_start(model, node="local")

    assert services.request_move(server).node == "b"


def test_a_move_that_nothing_can_take_changes_nothing(model: DiscoveredModel) -> None:
    server = services.request_start(model, node="local")
    Node.objects.filter(name="b").update(heartbeat_at=None)

    with pytest.raises(NoNodeError, match="b is silent"):
        services.request_move(server)
    with pytest.raises(NoNodeError, match="on node local already"):
        services.request_move(server, to="local")
    with pytest.raises(NotOnNodeError):
        services.request_move(server, to="c")

    assert wanted() == [("local", 0)]


def test_one_that_waits_for_a_request_waits_on_the_other_node(model: DiscoveredModel) -> None:
    server = services.offer(model, node="local")

    services.request_move(server, to="b")

    assert list(Server.objects.filter(on_request=True).values_list("node", flat=True)) == ["b"]
    assert wanted() == []


def test_a_move_keeps_what_a_request_may_start_again(model: DiscoveredModel) -> None:
    services.offer(model, node="local")
    server = services.request_start(model, node="local")

    moved = services.request_move(server, to="b")

    moved.refresh_from_db()
    assert moved.on_request


def test_an_activation_moves_what_its_profile_does_not_allow_there(
    model: DiscoveredModel,
) -> None:
    services.request_start(model, node="local")
    profile = save_yaml("name: A\nenabled_models: [m]\nplacement: {nodes: [b]}\n")

    activation = services.activate_profile(profile)

    assert [server.node for server in activation.moved] == ["b"]
    assert wanted() == [("b", 0)]
    assert services.activate_profile(profile).moved == []


def test_an_activation_names_a_model_that_no_node_may_have(model: DiscoveredModel) -> None:
    profile = save_yaml("name: A\nenabled_models: [m]\n")
    Node.objects.update(is_cordoned=True)

    ((model_id, why),) = services.activate_profile(profile).refused

    assert model_id == "m"
    assert "b is cordoned" in why


def test_what_is_offered_is_offered_where_it_is_placed(model: DiscoveredModel) -> None:
    profile = save_yaml(
        "name: A\nenabled_models: [m]\nlifecycle: {start: request}\nplacement: {nodes: [b]}\n"
    )
    services.offer(model, node="local")

    services.activate_profile(profile)

    assert list(Server.objects.filter(on_request=True).values_list("node", flat=True)) == ["b"]


def test_the_server_that_is_meant_is_the_one_that_runs_and_is_heard_of(
    model: DiscoveredModel,
) -> None:
    for node in ("local", "b"):
        services.request_start(model, node=node)
    Server.objects.update(state=ServerState.READY)
    Server.objects.filter(node="local").update(unreachable_since=timezone.now())

    found, there = find_server(model, 0), find_server(model, 0, "local")

    assert found is not None
    assert there is not None
    assert (found.node, there.node) == ("b", "local")
    assert find_server(model, 0, "c") is None
