"""Nodes that are lost: what is said of their servers, by whom, and how often."""

from typing import Any

import pytest
from django.db.models.functions import Now

from servers_app.cluster import lost_nodes
from servers_app.cluster.lost_nodes import mark_back, mark_lost
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from tests.at_once import at_once
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.cluster.conftest import MakeNode

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what is published."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(lost_nodes, "publish", lambda _kind, data: events.append(data))
    return events


@pytest.fixture
def lost(
    here: Node, make_node: MakeNode, make_model: MakeModel, make_server: MakeServer
) -> Server:
    """A server that runs on a node that was lost."""
    make_node("box2", silent_s=21)
    return make_server(
        make_model("m"), node="box2", state=ServerState.READY, wanted=Wanted.RUNNING, port=8090
    )


def test_a_server_of_a_silent_node_is_unreachable_since_it_was_heard_of(
    lost: Server, told: list[dict[str, Any]]
) -> None:
    assert mark_lost() == 1

    lost.refresh_from_db()
    assert lost.unreachable_since == Node.objects.get(name="box2").heartbeat_at
    assert lost.state == ServerState.READY, "what it was; nobody knows better"
    (event,) = ServerEvent.objects.filter(server=lost)
    assert (event.kind, event.who) == (ServerEvent.Kind.NOTE, "watch")
    assert event.why == "Node box2 is silent: what is said of its servers is of then."
    assert [(data["model_id"], data["state"]) for data in told] == [("m", "ready")]


def test_it_is_told_once_and_taken_back_once(lost: Server, told: list[dict[str, Any]]) -> None:
    assert (mark_lost(), mark_lost(), mark_back()) == (1, 0, 0)
    Node.objects.filter(name="box2").update(heartbeat_at=Now())

    assert (mark_lost(), mark_back(), mark_back()) == (0, 1, 0)

    lost.refresh_from_db()
    assert lost.unreachable_since is None
    newest = ServerEvent.objects.filter(server=lost).first()
    assert newest is not None
    assert newest.why == "Node box2 is there again."
    assert [data["unreachable_since"] is None for data in told] == [False, True]


@pytest.mark.parametrize(
    ("state", "wanted", "is_marked"),
    [
        (ServerState.READY, Wanted.STOPPED, True),
        (ServerState.FAILED, Wanted.RUNNING, True),
        (ServerState.STOPPED, Wanted.RUNNING, True),
        (ServerState.STOPPED, Wanted.STOPPED, False),
        (ServerState.FAILED, Wanted.STOPPED, False),
    ],
)
def test_what_is_at_rest_is_left_alone(
    lost: Server, state: ServerState, wanted: Wanted, is_marked: bool
) -> None:
    Server.objects.update(state=state, wanted=wanted)

    assert bool(mark_lost()) == is_marked


def test_nodes_that_are_there_and_those_that_nobody_knows_lose_nothing(
    here: Node, make_node: MakeNode, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_node("box2", silent_s=15)
    for number, node in enumerate(("local", "box2", "unheard-of")):
        make_server(
            make_model(f"m{number}"), node=node, state=ServerState.READY, port=8090 + number
        )

    assert mark_lost() == 0


def test_a_node_that_has_never_said_anything_is_silent(lost: Server) -> None:
    Node.objects.filter(name="box2").update(heartbeat_at=None)

    assert mark_lost() == 1

    lost.refresh_from_db()
    assert lost.unreachable_since is not None


def test_who_is_silent_itself_says_nothing_of_others(lost: Server) -> None:
    """The database's clock has jumped, or it was away: all seem to be silent."""
    Node.objects.filter(name="local").update(heartbeat_at=None)

    assert mark_lost() == 0


@pytest.mark.django_db(transaction=True)
def test_many_workers_that_see_it_at_once_tell_it_once(
    lost: Server, told: list[dict[str, Any]]
) -> None:
    assert sum(at_once([mark_lost] * 4)) == 1
    assert ServerEvent.objects.count() == len(told) == 1


def test_a_look_costs_the_same_for_many_servers(
    lost: Server, make_model: MakeModel, make_server: MakeServer, django_assert_num_queries: Any
) -> None:
    mark_lost()
    for number in range(5):
        make_server(
            make_model(f"n{number}"),
            node="local",
            state=ServerState.READY,
            port=8100 + number,
        )

    with django_assert_num_queries(3):
        mark_back()
        mark_lost()
