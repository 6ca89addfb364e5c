"""A request has a server started; against an idle stop, the database decides."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection, connections, transaction
from django.db.models import Q
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django import DjangoAssertNumQueries

from servers_app import demand, services
from servers_app.gateway import writer
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from tests.at_once import at_once
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.fleets import copy_to, make_node

pytestmark = [pytest.mark.django_db(transaction=True)]

PATIENCE_S = 30
NOW = timezone.now()
LONG_AGO = NOW - timedelta(hours=1)


@pytest.fixture(autouse=True)
def queued(queued: list[int]) -> list[int]:
    return queued


def stop_if_idle(server: Server, *, since: datetime) -> int:
    """Decide what an idle stop decides, as the supervisor does."""
    is_idle = Q(last_used_at=None) | Q(last_used_at__lt=since)
    rows = Server.objects.filter(pk=server.pk, wanted=Wanted.RUNNING).filter(is_idle)
    return rows.update(wanted=Wanted.STOPPED)


def in_background(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_stopped_server_that_waits_for_a_request_is_wanted_and_queued(
    make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(
        on_request=True,
        asked_by="ann",
        asked_why="it was idle",
        failed_at=[1.0],
        next_start_at=NOW,
    )

    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert (server.wanted, server.asked_by) == (Wanted.RUNNING, "gateway")
    assert server.asked_why == "a request named it"
    assert server.requested_at is not None
    assert server.requested_at == server.last_used_at
    assert (server.failed_at, server.next_start_at) == ([], None)
    event = ServerEvent.objects.get(server=server)
    assert (event.kind, event.who) == (ServerEvent.Kind.WANTED, "gateway")
    assert (event.why, event.to_state) == ("a request named it", "running")
    assert queued == [server.pk]


def test_a_server_that_somebody_stopped_is_not_started_by_a_request(
    make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(asked_by="ann")

    assert not demand.demand(server.pk)

    server.refresh_from_db()
    assert (server.wanted, server.asked_by) == (Wanted.STOPPED, "ann")
    assert server.last_used_at is None
    assert not ServerEvent.objects.exists()
    assert queued == []


def test_a_server_that_is_not_there_is_not_started(queued: list[int]) -> None:
    assert not demand.demand(404)

    assert queued == []


def test_a_server_that_is_wanted_already_is_kept_in_use_and_looked_at(
    make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(wanted=Wanted.RUNNING, asked_by="ann", requested_at=LONG_AGO)

    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert (server.asked_by, server.requested_at) == ("ann", LONG_AGO)
    assert server.last_used_at is not None
    assert not ServerEvent.objects.exists()
    assert queued == [server.pk]


@pytest.mark.parametrize("on_request", [True, False])
def test_a_server_that_was_given_up_is_asked_for_again_once_in_a_while(
    on_request: bool, make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(
        wanted=Wanted.RUNNING,
        on_request=on_request,
        state=ServerState.FAILED,
        failed_at=[1.0],
        requested_at=LONG_AGO,
        stopped_at=LONG_AGO,
    )

    assert demand.demand(server.pk)
    Server.objects.update(stopped_at=timezone.now())  # it has failed again
    asked_again = [demand.demand(server.pk) for _ in range(3)]

    assert asked_again == [False] * 3
    assert queued == [server.pk]
    assert ServerEvent.objects.count() == 1
    assert Server.objects.get().failed_at == [1.0]  # another failure is one more


def test_requests_do_not_hasten_a_restart_that_is_due_later(make_server: MakeServer) -> None:
    server = make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        requested_at=LONG_AGO,
        stopped_at=LONG_AGO,
        next_start_at=NOW + timedelta(hours=1),
    )

    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert server.requested_at == LONG_AGO


def test_a_queue_that_is_down_leaves_it_to_the_next_reconcile(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError

    monkeypatch.setattr("servers_app.tasks.settle.apply_async", refuse)
    server = make_server(on_request=True)

    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING
    assert f"Server {server.pk} waits for the next reconcile." in caplog.text


@pytest.fixture
def on_silent_node(make_model: MakeModel) -> Server:
    """A server that is offered on a silent node; `b`, which is there, has its model, too."""
    make_node("local", is_alive=False)
    make_node("b")
    model = make_model("m")
    copy_to(model, "b")
    return services.offer(model, node="local")


def test_one_that_is_offered_on_a_silent_node_is_started_on_one_that_is_there(
    on_silent_node: Server, queued: list[int]
) -> None:
    assert demand.demand(on_silent_node.pk)

    there = Server.objects.get(node="b")
    on_silent_node.refresh_from_db()
    assert (there.wanted, there.on_request, there.asked_by) == ("running", True, "gateway")
    assert (on_silent_node.wanted, on_silent_node.on_request) == ("stopped", False)
    assert queued == [there.pk]


def test_one_that_no_other_node_may_have_waits_for_its_own(
    on_silent_node: Server, queued: list[int]
) -> None:
    Node.objects.filter(name="b").update(is_cordoned=True)

    assert demand.demand(on_silent_node.pk)

    server = Server.objects.get()
    assert (server.node, server.wanted) == ("local", Wanted.RUNNING)
    assert queued == [on_silent_node.pk]


def test_many_gateways_that_ask_for_it_at_once_start_it_once(on_silent_node: Server) -> None:
    at_once([partial(demand.demand, on_silent_node.pk)] * 4)

    (running,) = Server.objects.filter(wanted=Wanted.RUNNING)
    assert running.node == "b"
    assert Server.objects.filter(on_request=True).count() == 1


def test_one_that_failed_by_a_clock_that_is_ahead_is_asked_for_again(
    make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        requested_at=LONG_AGO,
        stopped_at=NOW + timedelta(hours=1),
    )

    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert server.is_asked_again
    assert queued == [server.pk]


def test_a_demand_before_an_idle_stop_keeps_the_server_running(make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, on_request=True, last_used_at=LONG_AGO)
    since = timezone.now()

    assert demand.demand(server.pk)

    assert not stop_if_idle(server, since=since)


def test_a_demand_after_an_idle_stop_wants_the_server_running_again(
    make_server: MakeServer,
) -> None:
    server = make_server(wanted=Wanted.RUNNING, on_request=True, last_used_at=LONG_AGO)
    since = timezone.now()

    assert stop_if_idle(server, since=since)
    assert demand.demand(server.pk)

    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING


@pytest.mark.parametrize("first", ["demand", "idle stop"])
def test_the_one_that_comes_second_waits_for_the_other_and_a_request_is_served(
    first: str, make_server: MakeServer
) -> None:
    server = make_server(wanted=Wanted.RUNNING, on_request=True, last_used_at=LONG_AGO)
    since = timezone.now()
    answers: list[bool] = []
    has_begun = threading.Event()

    def come_second() -> None:
        has_begun.set()
        if first == "demand":
            stop_if_idle(server, since=since)
        else:
            answers.append(demand.demand(server.pk))

    with transaction.atomic():
        if first == "demand":
            answers.append(demand.demand(server.pk))
        else:
            stop_if_idle(server, since=since)
        second = in_background(come_second)
        assert has_begun.wait(PATIENCE_S)
        second.join(0.2)  # it is held up by now, or comes later
    second.join(PATIENCE_S)

    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING
    assert answers == [True]


def test_whoever_wins_a_server_that_a_request_named_is_wanted(make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, on_request=True)
    since = timezone.now()
    answers: list[bool] = []

    for _ in range(20):
        Server.objects.update(wanted=Wanted.RUNNING, last_used_at=LONG_AGO)
        both = threading.Barrier(2)

        def come(work: Callable[[], object], both: threading.Barrier = both) -> None:
            both.wait(PATIENCE_S)
            work()

        stopping = in_background(lambda: come(lambda: stop_if_idle(server, since=since)))
        asking = in_background(lambda: come(lambda: answers.append(demand.demand(server.pk))))
        stopping.join(PATIENCE_S)
        asking.join(PATIENCE_S)
        server.refresh_from_db()
        assert server.wanted == Wanted.RUNNING

    assert answers == [True] * 20


def test_uses_are_written_down_in_one_go(
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    model = make_model()
    used, also_used, idle = (make_server(model, replica=number) for number in range(3))

    with django_assert_num_queries(1):
        demand.note_use({used.pk, also_used.pk})

    times = dict(Server.objects.values_list("pk", "last_used_at"))
    assert times[used.pk] == times[also_used.pk] is not None
    assert times[idle.pk] is None


def test_a_lost_server_is_looked_at_by_its_node(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, ...], str]] = []
    monkeypatch.setattr(
        "servers_app.tasks.settle.apply_async",
        lambda args, queue, **_options: asked.append((args, queue)),
    )
    server = make_server(node="attic")

    demand.look_at(server.pk)
    demand.look_at(404)

    assert asked == [((server.pk,), "node.attic")]


def test_the_gateway_asks_in_a_thread_of_its_own(
    make_server: MakeServer, queued: list[int]
) -> None:
    server = make_server(on_request=True)

    async def ask() -> None:
        await writer.CONTROL.demand(server.pk)
        await writer.CONTROL.note_use([server.pk])
        await writer.CONTROL.look_at(server.pk)

    asyncio.run(ask())
    writer._writer.submit(connections.close_all).result(PATIENCE_S)

    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING
    assert queued == [server.pk, server.pk]
