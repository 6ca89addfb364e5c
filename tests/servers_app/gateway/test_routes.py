import pytest

from servers_app.gateway.errors import (
    ModelLoadingError,
    ModelNotFoundError,
    ModelNotReadyError,
)
from tests.servers_app.gateway.conftest import make_replica, make_route, make_table

URL = "http://127.0.0.1:8080"


def test_the_ready_replica_with_the_fewest_requests_is_chosen() -> None:
    route = make_route(
        "qwen",
        make_replica(URL, server_id=1),
        make_replica(URL, server_id=2),
        make_replica(URL, server_id=3, state="starting"),
    )

    choice = make_table(route).choose("qwen", {1: 2, 2: 1})

    assert (choice.route, choice.replica.server_id) == (route, 2)


def test_a_replica_that_was_tried_is_not_chosen_again() -> None:
    table = make_table(
        make_route("qwen", make_replica(URL, server_id=1), make_replica(URL, server_id=2))
    )

    assert table.choose("qwen", {2: 9}, exclude={1}).replica.server_id == 2


def test_auto_takes_the_first_ready_model_that_writes_text() -> None:
    table = make_table(
        make_route("embedder", make_replica(URL, server_id=1), kind="embedding"),
        make_route("loading", make_replica(URL, server_id=2, state="starting")),
        make_route("eyes", make_replica(URL, server_id=3), kind="vision"),
        make_route("late", make_replica(URL, server_id=4)),
    )

    assert table.choose("auto", {3: 5}).route.model_id == "eyes"


def test_an_unknown_model_is_told_what_there_is() -> None:
    table = make_table(make_route("a"), make_route("b", kind="embedding"))

    with pytest.raises(ModelNotFoundError) as caught:
        table.choose("x", {})

    assert str(caught.value) == "The model 'x' does not exist. Available: auto, a, b"


def test_auto_does_not_exist_where_no_model_writes_text() -> None:
    table = make_table(make_route("b", kind="embedding"))

    with pytest.raises(ModelNotFoundError, match=r"'auto' does not exist\. Available: b$"):
        table.choose("auto", {})


@pytest.mark.parametrize("model", ["auto", "x"])
def test_with_nothing_enabled_the_error_says_what_to_do(model: str) -> None:
    with pytest.raises(ModelNotFoundError, match="Enable a model in a profile in the admin"):
        make_table().choose(model, {})


@pytest.mark.parametrize("model", ["auto", "qwen"])
def test_a_model_that_is_loading_can_be_asked_again(model: str) -> None:
    table = make_table(
        make_route(
            "qwen",
            make_replica(URL, server_id=1, state="failed"),
            make_replica(URL, server_id=2, state="starting"),
        )
    )

    with pytest.raises(ModelLoadingError, match="'qwen' is loading") as caught:
        table.choose(model, {})

    assert caught.value.retry_after == 2


@pytest.mark.parametrize("model", ["auto", "qwen"])
def test_a_model_that_failed_is_not_worth_waiting_for(model: str) -> None:
    table = make_table(make_route("qwen", make_replica(URL, state="failed")))

    with pytest.raises(ModelNotReadyError, match=r"is failed\. Start it") as caught:
        table.choose(model, {})

    assert caught.value.retry_after is None


def test_a_model_that_failed_says_how() -> None:
    failed = make_replica(URL, state="failed", failure="It ended with code 1.")
    table = make_table(make_route("qwen", failed))

    with pytest.raises(ModelNotReadyError) as caught:
        table.choose("qwen", {})

    assert str(caught.value) == (
        "The model 'qwen' is not ready: its server has failed. It ended with code 1."
    )


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        pytest.param([("stopped", True), ("starting", False)], "starting", id="one starts"),
        pytest.param([("stopped", True), ("stopping", True)], "stopping", id="one is loaded"),
        pytest.param([("failed", False), ("stopped", True)], "stopped", id="one failed"),
        pytest.param([("stopped", False), ("failed", False)], "failed", id="worth a try"),
        pytest.param([("stopped", False), ("stopping", False)], None, id="stopped by somebody"),
        pytest.param([("unhealthy", True)], None, id="unwell"),
    ],
)
@pytest.mark.parametrize("model", ["auto", "1"])
def test_the_replica_that_is_ready_soonest_is_waited_for(
    model: str, replicas: list[tuple[str, bool]], expected: str | None
) -> None:
    made = [make_replica(URL, state=state, on_request=may) for state, may in replicas]
    if model == "auto":
        routes = [make_route(str(number), replica) for number, replica in enumerate(made)]
    else:
        routes = [make_route("1", *made)]

    awaited = make_table(*routes).awaited(model)

    assert (awaited.replica.state if awaited else None) == expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(["failed", "starting", "ready"], "ready", id="one is ready"),
        pytest.param(["failed", "starting"], "starting", id="one is starting"),
        pytest.param(["failed", "stopped"], "failed", id="none works"),
        pytest.param([], "stopped", id="there is none"),
    ],
)
def test_a_route_is_what_its_best_replica_is(states: list[str], expected: str) -> None:
    route = make_route("qwen", *(make_replica(URL, state=state) for state in states))

    assert route.state == expected
