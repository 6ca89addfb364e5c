"""What the gateway takes from the database."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from profiles_app.models import ProfileMember, TierRule
from profiles_app.preset_models import SamplingPreset
from profiles_app.serializers import DEFAULT_TIERS, defaults
from servers_app.gateway import routes
from servers_app.gateway.table import read_table
from servers_app.keys import server_key
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
EARLIER = NOW - timedelta(minutes=1)
MODEL_ID = "qwen3_4p0b_q4km_fast"


def test_a_ready_server_is_a_replica_with_its_address_and_key(make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY, port=8083)

    (replica,) = read_table().routes[MODEL_ID].replicas

    assert (replica.server_id, replica.base_url) == (server.pk, "http://127.0.0.1:8083")
    assert replica.api_key == server_key(server.pk)
    assert replica.upstream_model == MODEL_ID


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
    make_profile("mine", MODEL_ID, is_active=True)
    make_server(wanted=wanted, state=state)

    assert read_table().routes[MODEL_ID].state == shown


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

    assert read_table().routes[MODEL_ID].state == shown


def test_a_stopped_server_that_a_request_may_start_has_a_route(make_server: MakeServer) -> None:
    make_server(on_request=True)

    (replica,) = read_table().routes[MODEL_ID].replicas

    assert (replica.state, replica.on_request) == ("stopped", True)


@pytest.mark.parametrize(
    ("address", "host"), [("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")]
)
def test_a_server_is_reached_at_the_address_of_its_node(
    make_server: MakeServer, address: str, host: str
) -> None:
    Node.objects.create(name="attic", address=address)
    make_server(node="attic", wanted=Wanted.RUNNING, state=ServerState.READY, port=8083)

    (replica,) = read_table().routes[MODEL_ID].replicas

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


def test_a_failure_of_a_copy_names_no_folder_of_its_node(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model(file_path="/home/qwen3.gguf", filename="qwen3.gguf")
    make_server(
        model,
        node="attic",
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        last_error="It read /etc/x and/or /mnt/my models/b/qwen3.gguf: it is cut.",
        requested_at=EARLIER,
        stopped_at=NOW,
    )

    said = read_table().routes[model.model_id].failure
    assert said == "It read x and/or qwen3.gguf: it is cut."


def test_a_server_that_works_again_does_not_tell_of_an_old_failure(
    make_server: MakeServer,
) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.READY, last_error="It was ill.")

    assert read_table().routes[MODEL_ID].failure == ""


def test_requests_wait_as_long_as_the_profile_says(make_profile: MakeProfile) -> None:
    assert read_table().queue_wait_seconds == 60

    make_profile("mine", is_active=True, queue_wait_seconds=7)

    assert read_table().queue_wait_seconds == 7


def test_a_model_that_nobody_enabled_or_wants_is_not_there(make_server: MakeServer) -> None:
    make_server()

    assert read_table().routes == {}


def test_without_an_active_profile_a_new_profiles_defaults_count(
    make_server: MakeServer, make_profile: MakeProfile
) -> None:
    make_server(on_request=True)
    make_profile("resting", queue_limit=3, routing_classifier="heuristic")
    expected = defaults()

    table = read_table()

    assert (table.profile, table.preset, table.two_stage) == (None, "", None)
    assert table.strategy == expected["load_balancing"]["strategy"]
    assert table.queue_limit == expected["queue"]["limit"]
    assert table.queue_wait_seconds == expected["queue"]["wait_seconds"]
    assert table.cold_wait_seconds == expected["routing"]["cold_wait_seconds"]
    assert table.classifier == expected["routing"]["classifier"]
    assert table.classifier_model == expected["routing"]["classifier_model"]
    assert [(rule.name, rule.max_score, rule.expected_seconds) for rule in table.tiers] == [
        (rule["name"], rule["max_score"], rule["expected_time_seconds"])
        for rule in DEFAULT_TIERS
    ]


def test_the_active_profile_says_how_requests_are_routed(make_profile: MakeProfile) -> None:
    profile = make_profile(
        "mine",
        is_active=True,
        two_stage_enabled=True,
        two_stage_stage1_tier="fast",
        two_stage_stage2_tier="balanced",
        two_stage_stage1_max_tokens=70,
        load_balancing_strategy="least_loaded",
        queue_limit=7,
        routing_cold_wait_seconds=None,
        routing_classifier="embedding",
        routing_classifier_model="embedder",
    )
    for position, (name, limit) in enumerate([("powerful", 2.5), ("balanced", None)]):
        TierRule.objects.create(
            profile=profile,
            name=name,
            max_score=limit,
            expected_time_seconds=4,
            position=position,
        )

    table = read_table()

    assert table.two_stage == routes.TwoStage("fast", "balanced", stage1_max_tokens=70)
    assert (table.strategy, table.queue_limit) == ("least_loaded", 7)
    assert table.cold_wait_seconds is None
    assert (table.classifier, table.classifier_model) == ("embedding", "embedder")
    assert table.tiers == (
        routes.TierRule("powerful", max_score=2.5, expected_seconds=4),
        routes.TierRule("balanced", max_score=None, expected_seconds=4),
    )


def test_two_stages_that_are_off_are_none(make_profile: MakeProfile) -> None:
    make_profile("mine", is_active=True, two_stage_stage1_tier="fast")

    assert read_table().two_stage is None


def test_without_load_balancing_the_first_ready_server_answers(
    make_profile: MakeProfile,
) -> None:
    make_profile("mine", is_active=True, load_balancing_enabled=False)

    assert read_table().strategy == "first"


def test_a_model_has_the_names_and_the_tier_that_the_profile_gives_it(
    make_server: MakeServer, make_profile: MakeProfile
) -> None:
    profile = make_profile("mine", is_active=True)
    ProfileMember.objects.create(
        profile=profile, model_id=MODEL_ID, aliases=["gpt-4o", "o3"], tier_override="powerful"
    )
    make_server()

    route = read_table().routes[MODEL_ID]

    assert (route.aliases, route.tier) == (("gpt-4o", "o3"), "powerful")


@pytest.mark.parametrize(("override", "thinks"), [(None, True), (False, False)])
def test_whether_a_model_thinks_is_a_persons_word_first(
    make_model: MakeModel, make_server: MakeServer, override: bool | None, thinks: bool
) -> None:
    model = make_model(is_thinking_model=True, thinking_override=override)
    make_server(model, on_request=True)

    assert read_table().routes[model.model_id].is_thinking is thinks


def test_presets_that_hide_the_reasoning_are_known() -> None:
    SamplingPreset.objects.create(name="quiet", thinking="hide", top_k=3)
    SamplingPreset.objects.create(name="loud")

    table = read_table()

    assert table.hidden_thinking == {"quiet"}
    assert table.presets == {"loud": {}, "quiet": {"top_k": 3}}


@pytest.mark.parametrize(
    ("facts", "slots"),
    [({"total_slots": 4}, 4), ({}, 0), ({"total_slots": None}, 0), ({"total_slots": "4"}, 0)],
)
def test_slots_are_those_that_the_server_told_of(
    make_server: MakeServer, facts: dict[str, object], slots: int
) -> None:
    make_server(on_request=True, facts=facts, ready_at=EARLIER)

    (replica,) = read_table().routes[MODEL_ID].replicas

    assert replica.slots == slots
    assert replica.ready_at == EARLIER.timestamp()


def note_load(server: Server, seconds: float, *, to: ServerState = ServerState.READY) -> None:
    ServerEvent.objects.create(
        server=server, from_state=ServerState.STARTING, to_state=to, seconds=seconds
    )


def load_seconds() -> float | None:
    return read_table().routes[MODEL_ID].load_seconds


def test_a_load_is_expected_to_take_as_long_as_the_last_one(make_server: MakeServer) -> None:
    later = NOW + timedelta(seconds=4.5)
    server = make_server(on_request=True, launched_at=NOW, ready_at=later)
    note_load(server, 60.0)  # with a wait for memory

    assert load_seconds() == 4.5


def test_while_a_server_starts_its_history_tells_how_long_that_takes(
    make_server: MakeServer,
) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.STARTING, launched_at=NOW)
    note_load(server, 3.0)
    note_load(server, 9.0)
    note_load(server, 400.0, to=ServerState.FAILED)

    assert load_seconds() == 9.0


def test_a_load_that_never_was_is_estimated_by_size(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model(size_bytes=10 * 2**30), on_request=True)

    assert load_seconds() == 22.0


def test_a_model_takes_as_long_as_the_slowest_of_its_servers(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model()
    for replica, seconds in enumerate((5.0, 8.0, 2.0)):
        note_load(make_server(model, on_request=True, replica=replica), seconds)

    assert load_seconds() == 8.0


def test_many_servers_cost_no_more_queries_than_one(
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    names = [f"m{number}" for number in range(30)]
    make_profile("mine", *names, is_active=True)
    for number, name in enumerate(names):
        model = make_model(name)
        for replica in (0, 1):
            port = 9000 + 2 * number + replica
            server = make_server(model, replica=replica, wanted=Wanted.RUNNING, port=port)
            note_load(server, 1.0)

    with django_assert_num_queries(11):
        read_table()
    with django_assert_num_queries(8):  # how well they suit the tasks is known
        table = read_table()

    assert len(table.routes) == 30
