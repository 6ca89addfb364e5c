"""What the gateway takes from the database."""

import pytest

from servers_app.gateway.table import read_table
from servers_app.keys import server_key
from servers_app.models import ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_ready_server_is_a_replica_with_its_address_and_key(make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY, port=8083)

    (replica,) = read_table().routes["qwen3_4p0b_q4km_fast"].replicas

    assert (replica.server_id, replica.base_url) == (server.pk, "http://127.0.0.1:8083")
    assert replica.api_key == server_key(server.pk)
    assert replica.upstream_model == "qwen3_4p0b_q4km_fast"


def test_the_profiles_models_come_first_and_in_its_order(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    for number, name in enumerate(("a", "b", "c")):
        make_server(
            make_model(name), wanted=Wanted.RUNNING, state=ServerState.READY, port=8080 + number
        )
    make_profile("mine", "c", "a", is_active=True)

    table = read_table()

    assert list(table.routes) == ["c", "a", "b"]
    assert table.profile == "mine"


@pytest.mark.parametrize(
    ("wanted", "state", "shown"),
    [
        pytest.param(Wanted.RUNNING, ServerState.STOPPED, "starting", id="just asked for"),
        pytest.param(Wanted.RUNNING, ServerState.STARTING, "starting", id="loading"),
        pytest.param(Wanted.RUNNING, ServerState.READY, "ready", id="ready"),
        pytest.param(Wanted.RUNNING, ServerState.FAILED, "failed", id="failed"),
        pytest.param(Wanted.STOPPED, ServerState.READY, "stopping", id="about to stop"),
    ],
)
def test_where_a_server_is_going_counts(
    make_server: MakeServer,
    make_profile: MakeProfile,
    wanted: Wanted,
    state: ServerState,
    shown: str,
) -> None:
    make_profile("mine", "qwen3_4p0b_q4km_fast", is_active=True)
    make_server(wanted=wanted, state=state)

    assert read_table().routes["qwen3_4p0b_q4km_fast"].state == shown


def test_a_model_that_nobody_enabled_or_wants_is_not_there(make_server: MakeServer) -> None:
    make_server()

    assert read_table().routes == {}
