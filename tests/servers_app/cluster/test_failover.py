"""Failover: what is moved off a lost node, when, once; and what cannot be moved says so."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from models_app.copy_models import ModelCopy
from models_app.models import ScanRoot
from profiles_app.models import Eviction, Profile
from servers_app import supervisor
from servers_app.cluster.failover import fail_over
from servers_app.cluster.lost_nodes import mark_back, mark_lost
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from tests.at_once import at_once
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.cluster.conftest import MakeNode

pytestmark = pytest.mark.django_db

GIB = 2**30
HARDWARE = {"total_bytes": 64 * GIB, "available_bytes": 60 * GIB, "gpus": []}


@pytest.fixture
def profile(make_profile: MakeProfile) -> Profile:
    return make_profile(
        "production",
        "m",
        is_active=True,
        placement_failover=True,
        placement_failover_after_seconds=30,
    )


@pytest.fixture
def lost(
    queued: list[int],
    make_node: MakeNode,
    make_model: MakeModel,
    make_server: MakeServer,
    profile: Profile,
) -> Server:
    """A server that is wanted on a lost node; this node has a copy of its model."""
    make_node("local", hardware=HARDWARE, facts={"cores": 4})
    make_node("box2", silent_s=40, hardware=HARDWARE)
    root = ScanRoot.objects.create(node="box2", path="/models")
    model = make_model("m", root=root, size_bytes=1000)
    ModelCopy.objects.create(
        model=model,
        node="local",
        root=ScanRoot.objects.create(node="local", path="/srv"),
        file_path="/srv/m.gguf",
        blob_path="/srv/m.gguf",
    )
    server = make_server(
        model, node="box2", state=ServerState.READY, wanted=Wanted.RUNNING, port=8090
    )
    mark_lost()
    server.refresh_from_db()
    return server


def test_a_server_of_a_lost_node_is_wanted_on_another_one(lost: Server) -> None:
    assert fail_over() == 1

    lost.refresh_from_db()
    moved = Server.objects.get(node="local")
    assert (lost.wanted, moved.wanted) == (Wanted.STOPPED, Wanted.RUNNING)
    assert moved.model == lost.model
    assert moved.asked_by == "failover"
    assert "node box2 has been lost for more than 30 s" in moved.asked_why


def test_it_is_moved_once(lost: Server) -> None:
    assert (fail_over(), fail_over(), mark_lost(), fail_over()) == (1, 0, 0, 0)
    assert Server.objects.count() == 2


@pytest.mark.parametrize(
    "change",
    [
        {"placement_failover": False},
        {"is_active": False},
        {"placement_failover_after_seconds": 45},
    ],
)
def test_nothing_is_moved_that_the_active_profile_does_not_ask_for(
    lost: Server, change: dict[str, Any]
) -> None:
    Profile.objects.update(**change)

    assert fail_over() == 0


def test_a_node_that_is_back_keeps_its_servers(lost: Server) -> None:
    Node.objects.filter(name="box2").update(heartbeat_at=Now())

    assert fail_over() == 0
    assert (mark_back(), fail_over()) == (1, 0)


def test_what_is_not_wanted_is_not_moved(lost: Server) -> None:
    Server.objects.update(wanted=Wanted.STOPPED)

    assert fail_over() == 0


def test_what_no_node_can_take_stays_wanted_and_says_so_once(lost: Server) -> None:
    ModelCopy.objects.all().delete()

    assert (fail_over(), fail_over()) == (0, 0)

    lost.refresh_from_db()
    assert lost.wanted == Wanted.RUNNING
    (event,) = ServerEvent.objects.filter(who="failover")
    assert event.why.startswith("It stays on its lost node: ")


def test_what_no_node_has_room_for_stays_and_goes_on_when_its_node_is_back(
    lost: Server,
) -> None:
    """A launch that is refused elsewhere would leave nothing that runs, here or there."""
    small = {"total_bytes": 2**28, "available_bytes": 2**28}
    Node.objects.filter(name="local").update(hardware=small)

    assert (fail_over(), fail_over()) == (0, 0)

    lost.refresh_from_db()
    assert lost.wanted == Wanted.RUNNING
    (event,) = ServerEvent.objects.filter(who="failover")
    assert event.why.startswith(
        "It stays on its lost node: No other node has room for m: about"
    )

    Profile.objects.update(eviction=Eviction.IDLE_LONGEST)
    assert fail_over() == 1, "something there may give way"


def test_a_node_that_said_its_last_word_before_the_clock_was_set_back_is_lost(
    lost: Server,
) -> None:
    Node.objects.filter(name="box2").update(heartbeat_at=Now() + timedelta(hours=1))

    assert fail_over() == 1


def test_a_later_loss_is_said_anew(lost: Server) -> None:
    ModelCopy.objects.all().delete()
    fail_over()
    Server.objects.update(unreachable_since=timezone.now() + timedelta(seconds=1))

    fail_over()

    assert ServerEvent.objects.filter(who="failover").count() == 2


@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_move_it_once(lost: Server) -> None:
    assert sum(at_once([fail_over] * 4)) == 1
    assert Server.objects.filter(wanted=Wanted.RUNNING).count() == 1


def test_a_node_that_is_back_stops_what_was_moved_before_it_starts_anything(
    lost: Server, make_model: MakeModel, make_server: MakeServer
) -> None:
    others = [
        make_server(make_model(f"a{number}"), node="box2", wanted=Wanted.RUNNING)
        for number in range(2)
    ]
    late = make_server(
        make_model("z"), node="box2", state=ServerState.READY, port=8099, wanted=Wanted.STOPPED
    )
    assert fail_over() == 1

    first, second, *rest = supervisor.unsettled("box2")

    assert {first, second} == {lost.pk, late.pk}
    assert set(rest) == {server.pk for server in others}
