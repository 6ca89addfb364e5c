"""Servers on nodes of which nothing is heard: tried last, and not waited for."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest
from django.utils import timezone

from servers_app.gateway.choosing import Balancer
from servers_app.gateway.errors import ModelLoadingError, NotReachedError, UnreachableError
from servers_app.gateway.routes import UNREACHABLE, Replica, RoutingTable
from servers_app.gateway.table import table_now
from servers_app.gateway.unanswered import Resends
from servers_app.gateway.wishes import Wish
from servers_app.models import SILENCE, Node
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    make_table,
    refused_url,
)

CHAT = "/v1/chat/completions"
QWEN = Wish("qwen")


def away(server_id: int, state: str = UNREACHABLE, url: str = "http://10.0.0.9:1") -> Replica:
    replica = make_replica(url, server_id=server_id, state=state, on_request=True)
    return replace(replica, node="far", is_away=True)


def table_of(*replicas: Replica) -> RoutingTable:
    return make_table(make_route("qwen", *replicas))


def chosen(balancer: Balancer, table: RoutingTable, **options: set[int]) -> int:
    return balancer.choose(table, QWEN, {}, **options).replica.server_id


def test_one_that_is_unreachable_gets_nothing_while_another_is_there() -> None:
    table = table_of(away(1), make_replica("http://10.0.0.2:1", server_id=2), away(3))

    assert {chosen(Balancer(), table) for _ in range(6)} == {2}


def test_when_all_are_unreachable_they_are_tried() -> None:
    balancer, table = Balancer(), table_of(away(1), away(2))

    assert {chosen(balancer, table) for _ in range(6)} == {1, 2}
    assert chosen(balancer, table, exclude={1}) == 2


def test_none_is_tried_while_one_loads_on_a_node_that_is_there() -> None:
    table = table_of(away(1), make_replica("http://10.0.0.2:1", server_id=2, state="starting"))

    with pytest.raises(ModelLoadingError):
        Balancer().choose(table, QWEN, {})


@pytest.mark.parametrize("state", ["stopped", "starting", "failed"])
def test_what_is_waited_for_is_on_a_node_that_is_there(state: str) -> None:
    there = make_replica("http://10.0.0.2:1", server_id=2, state="stopped", on_request=True)
    awaited = Balancer().awaited(table_of(away(1, state), there), QWEN)

    assert awaited is not None
    assert awaited.replica.server_id == 2


def test_who_is_left_with_none_is_told_of_the_nodes() -> None:
    with pytest.raises(UnreachableError, match="the nodes far and near do not answer"):
        Balancer().choose(
            table_of(away(1), replace(away(2), node="near")), QWEN, {}, exclude={1, 2}
        )


def test_servers_on_a_host_that_fell_off_come_after_all_others() -> None:
    far = [make_replica(f"http://10.0.0.9:{port}", server_id=port) for port in (1, 2, 3)]
    table = table_of(*far, make_replica("http://10.0.0.2:1", server_id=4))
    balancer = Balancer()
    balancer.cut_off(far[0])

    assert {chosen(balancer, table) for _ in range(6)} == {4}
    assert chosen(balancer, table, exclude={4}) in {2, 3}


def test_a_host_that_answers_is_there_again() -> None:
    far = make_replica("http://10.0.0.9:1", server_id=1)
    balancer, table = Balancer(), table_of(far)
    balancer.cut_off(far)
    with pytest.raises(UnreachableError):
        balancer.choose(table, QWEN, {})

    balancer.hosts.is_back("10.0.0.9")

    assert chosen(balancer, table) == 1
    assert not balancer.hosts.is_away(far.base_url)


async def test_a_request_that_fell_off_has_a_server_started_elsewhere(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    stage: Stage,
) -> None:
    upstream = await make_upstream()
    far = away(1, url=refused_url())
    there = make_replica(upstream.url, server_id=2, state="stopped", on_request=True)
    stage.show(far, there)

    async def start(_server_id: int) -> None:
        stage.show(far, replace(there, state="ready"))

    stage.on_demand = start
    gateway = await make_gateway(stage.load, stage.control)

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        assert response.status == 200

    assert stage.demanded == [2]


async def test_a_request_waits_for_a_node_to_be_back(
    make_upstream: MakeUpstream,
    make_gateway: MakeGateway,
    client: aiohttp.ClientSession,
    stage: Stage,
) -> None:
    upstream = await make_upstream()
    stage.show(away(1, url=refused_url()))
    gateway = await make_gateway(stage.load, stage.control)
    asking = asyncio.create_task(client.post(f"{gateway}{CHAT}", json={"model": "qwen"}))
    await asyncio.sleep(0.3)
    assert not asking.done()

    stage.show(make_replica(upstream.url))

    async with await asking as response:
        assert response.status == 200


async def test_the_error_says_of_which_node_nothing_is_heard(
    make_gateway: MakeGateway, client: aiohttp.ClientSession
) -> None:
    gateway = await make_gateway(table_of(away(1, url=refused_url())))

    async with client.post(f"{gateway}{CHAT}", json={"model": "qwen"}) as response:
        message = (await response.json())["error"]["message"]

    assert message == (
        "The server of the model 'qwen' was not reached: "
        "nothing has been heard of its node 'far' for a while."
    )


def _beat(name: str, *, is_silent: bool) -> None:
    at = timezone.now() - (2 * SILENCE if is_silent else timedelta(0))
    Node.objects.create(name=name, address="10.0.0.1", heartbeat_at=at)


def _replicas() -> dict[str, Replica]:
    return {one.node: one for route in table_now().routes.values() for one in route.replicas}


def test_servers_of_a_silent_node_are_unreachable(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model("qwen")
    _beat("a", is_silent=False)
    _beat("b", is_silent=True)
    for replica, node in enumerate("ab"):
        make_server(
            model,
            replica=replica,
            node=node,
            wanted="running",
            state="ready",
            port=8080 + replica,
        )

    found = _replicas()

    assert (found["a"].state, found["a"].is_away) == ("ready", False)
    assert (found["b"].state, found["b"].is_away) == (UNREACHABLE, True)


def test_the_silence_of_the_only_node_changes_nothing(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    _beat("a", is_silent=True)
    make_server(make_model("qwen"), node="a", wanted="running", state="ready")

    assert (_replicas()["a"].state, _replicas()["a"].is_away) == ("ready", False)


def test_a_server_that_is_marked_unreachable_is(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    _beat("a", is_silent=False)
    make_server(
        make_model("qwen"),
        node="a", wanted="running", state="ready", unreachable_since=timezone.now(),
    )  # fmt: skip

    assert _replicas()["a"].state == UNREACHABLE


def test_a_stopped_server_of_a_silent_node_is_stopped_and_comes_last(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    _beat("a", is_silent=False)
    _beat("b", is_silent=True)
    make_server(make_model("qwen"), node="b", on_request=True)

    assert (_replicas()["b"].state, _replicas()["b"].is_away) == ("stopped", True)


def test_a_request_falls_off_four_servers_and_no_more() -> None:
    failure, resends = NotReachedError.cut_off("qwen"), Resends()

    assert [resends.allow(failure, id_) for id_ in (1, 1, 1, 1, 1, 2, 3, 4)] == [True] * 8
    assert not resends.allow(failure, 5)
