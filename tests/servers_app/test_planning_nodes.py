"""Where the servers of a profile go over several nodes, and that none moves by itself."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from models_app.models import DiscoveredModel
from profiles_app.errors import ProfileInvalidError
from profiles_app.models import Profile
from profiles_app.services import save_yaml
from profiles_app.validation import validate
from servers_app.engine.binary import find_engine
from servers_app.errors import EngineError
from servers_app.models import Node, Server, ServerState, Wanted
from servers_app.planning import Step, make_plan
from tests.conftest import MakeModel
from tests.servers_app.fleets import PROGRAM, copy_to, give_engine, make_node

pytestmark = pytest.mark.django_db

THREE = "name: A\nenabled_models: [{model_id: m, replicas: 3}]\n"


@pytest.fixture
def model(make_model: MakeModel) -> DiscoveredModel:
    """A model of a gibibyte whose home is this node, with copies on two more."""
    for name in ("local", "b", "c"):
        make_node(name)
    model = make_model("m")
    copy_to(model, "b", "c")
    return model


def nodes_in(profile: Profile) -> list[str]:
    return [wish.node for wish in make_plan(profile).wishes if wish.step != Step.STOP]


def steps_in(profile: Profile) -> list[tuple[str, str]]:
    return [(wish.step.value, wish.node) for wish in make_plan(profile).wishes]


def run(model: DiscoveredModel, node: str, replica: int = 0, **fields: object) -> Server:
    """Save a server that runs."""
    wanted = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "port": 8080 + replica}
    return Server.objects.create(
        model=model, node=node, replica=replica, **{**wanted, **fields}
    )


def set_node(name: str, **fields: object) -> None:
    Node.objects.filter(name=name).update(**fields)


# -- by the rule


def test_replicas_are_spread_over_the_nodes_with_the_files(model: DiscoveredModel) -> None:
    assert sorted(nodes_in(save_yaml(THREE))) == ["b", "c", "local"]


def test_packed_replicas_share_a_node_while_there_is_room(model: DiscoveredModel) -> None:
    assert len(set(nodes_in(save_yaml(THREE + "placement: {rule: pack}\n")))) == 1


def test_pinned_replicas_go_to_the_first_node_that_has_room(model: DiscoveredModel) -> None:
    set_node("c", hardware={"total_bytes": 3 * 2**30, "available_bytes": 3 * 2**30})
    profile = save_yaml(THREE + "placement: {rule: pin, nodes: [c, b]}\n")

    nodes = nodes_in(profile)

    assert nodes[0] == "c"
    assert nodes[-1] == "b"


def test_what_a_member_names_counts_more_than_what_its_profile_names(
    model: DiscoveredModel,
) -> None:
    text = "name: A\nenabled_models: [{model_id: m, nodes: [b]}]\nplacement: {nodes: [c]}\n"

    assert nodes_in(save_yaml(text)) == ["b"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"is_cordoned": True}, "is cordoned"), ({"heartbeat_at": None}, "is silent")],
)
def test_a_cordoned_or_silent_node_gets_nothing(
    model: DiscoveredModel, fields: dict[str, object], why: str
) -> None:
    for name in ("b", "c"):
        set_node(name, **fields)

    assert nodes_in(save_yaml(THREE)) == ["local"] * 3

    set_node("local", **fields)
    (wish, *_) = make_plan(save_yaml(THREE)).wishes
    assert (wish.step, wish.node) == (Step.REFUSED, "")
    assert f"b {why}" in wish.why
    assert "manage.py copy m --to NODE" in wish.why


def test_a_refusal_says_of_each_node_why(model: DiscoveredModel) -> None:
    make_node("empty")
    set_node("b", is_cordoned=True)
    set_node("c", heartbeat_at=None)
    text = "name: A\nenabled_models: [{model_id: m, nodes: [b, c]}]\n"

    (wish,) = make_plan(save_yaml(text)).wishes

    assert "b is cordoned; c is silent" in wish.why
    assert "empty has no files of it; local is not among the nodes" in wish.why


def test_the_only_node_with_the_files_is_taken_even_while_it_is_silent(
    make_model: MakeModel,
) -> None:
    make_node("local", is_alive=False)
    make_node("b")
    make_model("m")

    assert steps_in(save_yaml("name: A\nenabled_models: [m]\n")) == [("start", "local")]


def test_where_none_has_room_the_plan_says_so(model: DiscoveredModel) -> None:
    for name in ("local", "b", "c"):
        set_node(name, hardware={"total_bytes": 2**29, "available_bytes": 2**29})

    (wish,) = make_plan(save_yaml("name: A\nenabled_models: [m]\n")).wishes

    assert wish.step == Step.START
    assert "are needed, and local has 512 MiB left, b has 512 MiB left" in wish.why


def test_what_other_servers_are_to_take_counts(
    model: DiscoveredModel, make_model: MakeModel
) -> None:
    big = make_model("big", size_bytes=40 * 2**30)
    text = "name: A\nenabled_models: [big, m]\nplacement: {rule: pack}\n"
    for name in ("local", "b", "c"):
        set_node(name, hardware={"total_bytes": 41 * 2**30, "available_bytes": 41 * 2**30})
    copy_to(big, "b")

    first, second = nodes_in(save_yaml(text))

    assert first != second


# -- what is there stays


def test_a_replica_that_is_wanted_stays_where_it_is(model: DiscoveredModel) -> None:
    run(model, "b", 0)
    run(model, "b", 1)

    assert steps_in(save_yaml(THREE))[:2] == [("stay", "b"), ("stay", "b")]
    assert nodes_in(save_yaml(THREE))[2] in {"c", "local"}


@pytest.mark.parametrize(
    "fields", [{"is_cordoned": True}, {"heartbeat_at": None}], ids=["cordoned", "silent"]
)
def test_nothing_moves_from_a_node_because_it_is_cordoned_or_silent(
    model: DiscoveredModel, fields: dict[str, object]
) -> None:
    run(model, "b")
    set_node("b", **fields)

    assert steps_in(save_yaml("name: A\nenabled_models: [m]\n")) == [("stay", "b")]


def test_what_the_profile_does_not_allow_there_any_more_moves(model: DiscoveredModel) -> None:
    old = run(model, "b")

    (wish,) = make_plan(
        save_yaml("name: A\nenabled_models: [m]\nplacement: {nodes: [c]}\n")
    ).wishes

    assert (wish.step, wish.node, wish.server) == (Step.MOVE, "c", old)
    assert "from b" in wish.why


def test_of_a_replica_that_runs_twice_one_stays(model: DiscoveredModel) -> None:
    run(model, "b")
    run(model, "c")

    assert sorted(steps_in(save_yaml("name: A\nenabled_models: [m]\n"))) == [
        ("stay", "b"), ("stop", "c")
    ]  # fmt: skip


def test_one_that_waits_for_a_request_waits_where_it_did(model: DiscoveredModel) -> None:
    Server.objects.create(model=model, node="c", on_request=True)
    text = "name: A\nenabled_models: [m]\nlifecycle: {start: request}\n"

    assert steps_in(save_yaml(text)) == [("on request", "c")]


@pytest.mark.parametrize("start", ["request", "activation"])
def test_what_is_offered_on_a_silent_node_goes_to_one_that_is_there_if_one_may_have_it(
    model: DiscoveredModel, start: str
) -> None:
    Server.objects.create(model=model, node="c", on_request=True)
    set_node("c", heartbeat_at=None)
    step = "on request" if start == "request" else "start"
    text = f"name: A\nenabled_models: [m]\nlifecycle: {{start: {start}}}\n"

    assert steps_in(save_yaml(text + "placement: {nodes: [b, c]}\n")) == [(step, "b")]
    assert steps_in(save_yaml(text + "placement: {nodes: [c]}\n", slug="a")) == [(step, "c")]


# -- the command line of its node


def test_a_node_of_which_nothing_is_known_keeps_its_servers_as_they_are(
    model: DiscoveredModel,
) -> None:
    run(model, "b", argv=["/opt/other", "--model", "/elsewhere"])

    assert steps_in(save_yaml("name: A\nenabled_models: [m]\n")) == [("stay", "b")]


def test_a_server_is_held_against_the_engine_the_cores_and_the_files_of_its_node(
    model: DiscoveredModel,
) -> None:
    give_engine("b", cores=4)
    text = "name: A\nenabled_models: [m]\nrun_settings: {threads: 64}\n"
    run(model, "b", argv=[PROGRAM, "--model", "/old.gguf"])

    (wish,) = make_plan(save_yaml(text)).wishes

    assert wish.step == Step.RESTART
    assert "--model: /old.gguf → /b/m.gguf" in wish.why
    assert "--threads: not given → 3" in wish.why


def test_what_another_nodes_build_lacks_is_found(model: DiscoveredModel) -> None:
    give_engine("b", lacks="--cache-type-k")
    text = (
        "name: A\nenabled_models: [{model_id: m, nodes: [%s]}]\n"
        "run_settings: {cache_type_k: q8_0}\n"
    )
    profile = save_yaml(text % "c")
    assert validate(profile).is_valid

    profile.members.update(nodes=["b"])

    (error,) = validate(profile).errors
    assert "On node b: " in error.message
    assert "--cache-type-k" in error.message


def test_an_engine_that_only_another_node_has_is_run_there(model: DiscoveredModel) -> None:
    for name in ("local", "b", "c"):
        give_engine(name, also="old" if name == "b" else "")

    profile = save_yaml("name: A\nengine: old\nenabled_models: [m]\n")

    assert validate(profile).is_valid
    assert steps_in(profile) == [("start", "b")]
    with pytest.raises(EngineError, match="Node local has no engine 'old'"):
        find_engine("old")


def test_an_engine_that_none_of_its_nodes_has_is_an_error(model: DiscoveredModel) -> None:
    for name in ("local", "b", "c"):
        give_engine(name, also="old" if name == "b" else "")
    member = "{model_id: m, nodes: [c, local]}"

    profile = save_yaml(f"name: A\nengine: old\nenabled_models: [{member}]\n")

    (error,) = validate(profile).errors
    assert error.path == "enabled_models[0]"
    assert "None of the nodes that may run it has an engine 'old': local, c." in error.message
    (wish,) = make_plan(profile).wishes
    assert (wish.step, "c has no engine 'old'" in wish.why) == (Step.REFUSED, True)
    with pytest.raises(ProfileInvalidError, match="no engine 'odl' on any node"):
        save_yaml("name: B\nengine: odl\n")


# -- what it costs


def test_a_plan_costs_as_many_queries_however_many_models_and_nodes(
    model: DiscoveredModel, make_model: MakeModel, settings: Settings
) -> None:
    def queries() -> int:
        ids = ", ".join(DiscoveredModel.objects.values_list("model_id", flat=True))
        profile = save_yaml(f"name: A\nenabled_models: [{ids}]\n", slug="a")
        with CaptureQueriesContext(connection) as captured:
            make_plan(profile)
        return len(captured)

    run(model, "b", argv=[PROGRAM, "--model", "/old.gguf"])
    give_engine("b")
    few = queries()
    for number in range(5):
        make_node(f"n{number}")
        give_engine(f"n{number}")
        more = make_model(f"m{number}")
        copy_to(more, f"n{number}", "b")
        run(more, f"n{number}", argv=[PROGRAM, "--model", "/old.gguf"])

    assert queries() == few
