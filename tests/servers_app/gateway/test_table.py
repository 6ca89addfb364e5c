"""What the gateway takes from the database."""

from datetime import timedelta

import pytest
from django.utils import timezone

from servers_app.gateway.table import read_table
from servers_app.keys import server_key
from servers_app.models import Node, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
EARLIER = NOW - timedelta(minutes=1)


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
        pytest.param(Wanted.RUNNING, ServerState.STOPPING, "starting", id="goes on"),
        pytest.param(Wanted.STOPPED, ServerState.READY, "stopping", id="about to stop"),
        pytest.param(Wanted.STOPPED, ServerState.STOPPED, "stopped", id="stopped"),
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


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        pytest.param({}, "failed", id="given up"),
        pytest.param({"next_start_at": NOW}, "failed", id="while it loaded"),
        pytest.param({"next_start_at": NOW, "ready_at": EARLIER}, "starting", id="when ready"),
        pytest.param({"requested_at": NOW}, "starting", id="asked again"),
        pytest.param({"requested_at": NOW, "wanted": Wanted.STOPPED}, "failed", id="unwanted"),
    ],
)
def test_one_that_failed_counts_as_starting_when_it_is_about_to_be_launched(
    make_server: MakeServer, fields: dict[str, object], shown: str
) -> None:
    times = {"requested_at": EARLIER, "stopped_at": EARLIER}
    values = {"wanted": Wanted.RUNNING, "on_request": True, **times, **fields}
    make_server(state=ServerState.FAILED, **values)

    assert read_table().routes["qwen3_4p0b_q4km_fast"].state == shown


def test_a_stopped_server_that_a_request_may_start_has_a_route(make_server: MakeServer) -> None:
    make_server(on_request=True)

    (replica,) = read_table().routes["qwen3_4p0b_q4km_fast"].replicas

    assert (replica.state, replica.on_request) == ("stopped", True)


@pytest.mark.parametrize(
    ("address", "host"), [("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")]
)
def test_a_server_is_reached_at_the_address_of_its_node(
    make_server: MakeServer, address: str, host: str
) -> None:
    Node.objects.create(name="attic", address=address)
    make_server(node="attic", wanted=Wanted.RUNNING, state=ServerState.READY, port=8083)

    (replica,) = read_table().routes["qwen3_4p0b_q4km_fast"].replicas

    assert replica.base_url == f"http://{host}:8083"


@pytest.mark.parametrize(
    ("last_error", "said"),
    [
        pytest.param(
            "llama-server ended with code 1. Its last lines:\nfailed to open /home/jo/x.gguf",
            "llama-server ended with code 1.",
            id="its first sentence",
        ),
        pytest.param(
            "Port 8080 is answered by a server of /home/jo/x.gguf. Start it again.",
            "Port 8080 is answered by a server of x.gguf. Start it again.",
            id="another file",
        ),
        pytest.param(
            "/mnt/my models/qwen3.gguf: wrong magic (1/2, see http://host:80/a)",
            "qwen3.gguf: wrong magic (1/2, see http://host:80/a)",
            id="its own file, in a folder with a space",
        ),
        pytest.param("", "", id="nothing is known"),
    ],
)
def test_a_failure_is_told_in_a_sentence_without_folders(
    make_model: MakeModel, make_server: MakeServer, last_error: str, said: str
) -> None:
    model = make_model(file_path="/mnt/my models/qwen3.gguf")
    times = {"requested_at": EARLIER, "stopped_at": NOW}
    make_server(
        model, wanted=Wanted.RUNNING, state=ServerState.FAILED, last_error=last_error, **times
    )

    assert read_table().routes[model.model_id].failure == said


def test_a_server_that_works_again_does_not_tell_of_an_old_failure(
    make_server: MakeServer,
) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.READY, last_error="It was ill.")

    assert read_table().routes["qwen3_4p0b_q4km_fast"].failure == ""


def test_requests_wait_as_long_as_the_profile_says(make_profile: MakeProfile) -> None:
    assert read_table().queue_wait_seconds == 60

    make_profile("mine", is_active=True, queue_wait_seconds=7)

    assert read_table().queue_wait_seconds == 7


def test_a_model_that_nobody_enabled_or_wants_is_not_there(make_server: MakeServer) -> None:
    make_server()

    assert read_table().routes == {}
