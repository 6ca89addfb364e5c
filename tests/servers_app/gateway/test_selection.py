"""`task:NAME` and `current`: names that leave the choice to what is known of models."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from models_app.models import ModelKind
from servers_app.gateway.app import Gateway
from servers_app.gateway.cards import card_of, cards
from servers_app.gateway.choosing import Balancer
from servers_app.gateway.current import Running, refresh_here, set_current
from servers_app.gateway.errors import ModelNotFoundError, NothingChosenError
from servers_app.gateway.routes import Route, RoutingTable
from servers_app.gateway.table import read_table
from servers_app.gateway.wishes import Wish
from servers_app.manager_models import CurrentModel
from servers_app.models import ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    make_table,
)

CODING = {"a": 7.0, "b": 7.0, "c": 4.2}


def route_of(
    model_id: str, state: str = "ready", *, on_request: bool = False, kind: str = "text"
) -> Route:
    server_id = ord(model_id[0])
    replica = make_replica(
        "http://127.0.0.1:8080", server_id=server_id, state=state, on_request=on_request
    )
    return make_route(model_id, replica, kind=kind)


def table_of(*routes: Route, current: str = "") -> RoutingTable:
    scores = {"coding": CODING, "vision": {}, "embedding": {"e": 6.0}}
    return replace(make_table(*routes), task_scores=scores, current_model=current)


def ids(table: RoutingTable, name: str = "task:coding") -> list[str]:
    return [route.model_id for route in table.routes_for(Wish(name))]


def test_a_task_is_the_model_that_suits_it_best() -> None:
    assert ids(table_of(route_of("c"), route_of("b"))) == ["b"]
    assert ids(table_of(route_of("e", kind="embedding")), "task:embedding") == ["e"]


def test_of_two_as_good_the_one_that_is_ready_answers() -> None:
    table = table_of(route_of("a", "starting"), route_of("b"), route_of("c"))

    assert ids(table) == ["a", "b"]
    assert Balancer().choose(table, Wish("task:coding"), {}).route.model_id == "b"


def test_a_better_one_that_a_request_may_start_goes_before_a_ready_one() -> None:
    table = table_of(route_of("a", "stopped", on_request=True), route_of("c"))

    assert ids(table) == ["a"]


def test_what_no_request_starts_is_passed_over_and_so_is_what_failed() -> None:
    for state in ("stopped", "failed"):
        assert ids(table_of(route_of("a", state), route_of("c"))) == ["c"]

    assert ids(table_of(route_of("a", "failed"), route_of("c", "stopped"))) == ["a"]
    assert ids(table_of(route_of("c", "stopped"))) == ["c"]  # which its error then says


def test_a_task_that_there_is_not_is_told_those_that_there_are() -> None:
    with pytest.raises(NothingChosenError) as caught:
        ids(table_of(route_of("a")), "task:cooking")

    assert caught.value.status == 404
    assert str(caught.value) == (
        "There is no task 'cooking'. Available: task:coding, task:vision, task:embedding"
    )


def test_a_task_that_nobody_can_do_is_told_what_kinds_there_are() -> None:
    table = table_of(route_of("a"), route_of("b"), route_of("e", kind="embedding"))

    with pytest.raises(NothingChosenError, match=r"'vision'.* kind: 2 text, 1 embedding"):
        ids(table, "task:vision")


def test_current_is_the_model_that_somebody_switched_to() -> None:
    assert ids(table_of(route_of("a"), route_of("c"), current="c"), "current") == ["c"]


def test_without_a_current_model_the_error_says_how_to_choose_one() -> None:
    with pytest.raises(NothingChosenError, match="POST /ai/switch-model chooses it") as caught:
        ids(table_of(route_of("a")), "current")

    assert str(caught.value).endswith("Available: auto, fast, a, task:coding")
    with pytest.raises(NothingChosenError, match="is gone, which is not enabled"):
        ids(table_of(route_of("a"), current="gone"), "current")


def test_a_model_and_an_alias_of_such_a_name_go_before_it() -> None:
    aliased = replace(route_of("c"), aliases=("current", "task:coding"))

    table = table_of(route_of("a"), aliased, current="a")

    assert ids(table, "current") == ids(table) == ["c"]


def test_a_key_for_some_models_gets_the_best_of_those() -> None:
    table = table_of(route_of("a"), route_of("c"), current="a").only({"c"})

    assert ids(table) == ["c"]
    assert "task:coding" in table.names()
    with pytest.raises(NothingChosenError, match="none that this API key may use") as caught:
        ids(table, "current")
    assert "is a" not in str(caught.value)
    with pytest.raises(NothingChosenError, match="that this API key may use can do"):
        ids(table, "task:vision")


def test_errors_list_the_tasks_that_have_a_model() -> None:
    with pytest.raises(ModelNotFoundError, match="Available: auto, fast, a, current, task:cod"):
        ids(table_of(route_of("a"), current="a"), "x")


def test_they_are_not_listed_but_can_be_asked_for() -> None:
    table = table_of(route_of("a"), current="a")

    assert list(cards(table)) == ["auto", "fast", "a"]
    card = card_of(table, "task:coding")
    assert card is not None
    assert (card["id"], card["root"]) == ("task:coding", "a")
    assert card_of(table, "task:vision") is None


async def test_a_request_for_a_task_is_answered_by_its_model(
    make_gateway: MakeGateway, make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> None:
    async def embed(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"embedding": [0.1]}]})

    upstream = await make_upstream(embed)
    route = make_route("e", make_replica(upstream.url), kind="embedding", tier=None)
    url = await make_gateway(table_of(route, current="e"))

    for name in ("task:embedding", "current"):
        body = {"model": name, "input": "Hello"}
        async with client.post(f"{url}/v1/embeddings", json=body) as answer:
            assert (answer.status, answer.headers["X-Magi-Model"]) == (200, "e")
    async with client.get(f"{url}/v1/models/task:embedding") as answer:
        assert (await answer.json())["root"] == "e"
    async with client.post(f"{url}/v1/embeddings", json={"model": "task:x"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (
            404, "model_not_found",
        )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_the_table_has_the_scores_of_enabled_models_and_the_current_one(
    make_model: MakeModel, make_profile: MakeProfile, make_server: MakeServer
) -> None:
    make_model("not-enabled", size_params=70.0, is_coder=True)
    coder = make_model("coder", is_coder=True)
    make_profile("mine", "coder", "text", is_active=True)
    for number, model in enumerate((make_model("text"), coder)):
        make_server(model, wanted=Wanted.RUNNING, state=ServerState.READY, port=8080 + number)
    make_server(make_model("e", kind=ModelKind.EMBEDDING), on_request=True)
    CurrentModel.objects.create(pk=1, model=coder, who="ada")

    table = read_table()

    assert ids(table) == ids(table, "current") == ["coder"]
    assert ids(table, "task:creative") == ["text"]
    assert ids(table, "task:embedding") == ["e"]
    CurrentModel.objects.update(model=None)
    assert read_table().current_model == ""


async def test_what_was_committed_is_known_to_the_next_request(stage: Stage) -> None:
    stage.table = table_of(route_of("a"), current="")
    gateway = Gateway(stage.load, stage.control, refresh_seconds=3600)
    await gateway.startup()
    set_current(Running(gateway, asyncio.get_running_loop()))
    try:
        loads, stage.table = stage.loads, table_of(route_of("a"), current="a")

        await asyncio.to_thread(refresh_here)

        assert stage.loads == loads + 1
    finally:
        set_current(None)
        await gateway.shutdown()
    refresh_here()  # where no gateway runs, nobody is told
