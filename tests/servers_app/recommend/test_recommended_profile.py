"""A profile of what is recommended: a real one, which passes and fits."""

import pytest
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from models_app.models import ModelKind
from profiles_app.errors import ProfileExistsError, ProfileInvalidError
from profiles_app.models import Profile
from profiles_app.presets import ensure_shipped_presets
from profiles_app.rows import as_document
from profiles_app.validation import validate
from servers_app.errors import NothingFitsError
from servers_app.planning import make_plan
from servers_app.recommend.places import place_of
from servers_app.recommend.profile import MadeProfile, make_profile
from servers_app.recommend.service import recommend
from tests.servers_app.recommend.conftest import NODE, MakeNode, OnNode
from tests.servers_app.recommend.machines import gpu, hardware

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def presets(db: None, settings: Settings) -> None:
    settings.LLAMA_SERVER_PATH = "/nowhere/llama-server"  # nobody here can be asked
    ensure_shipped_presets()


@pytest.fixture
def all_sizes(on_node: OnNode) -> None:
    for model_id, billions in [("two", 2), ("four", 4), ("nine", 9), ("big", 32)]:
        on_node(model_id, billions)


def made(task: str = "general", name: str = "Made for this") -> MadeProfile:
    return make_profile(recommend(place_of(NODE), task), name, author="somebody")


def members(made: MadeProfile) -> list[str]:
    return [member.recommendation.model.model_id for member in made.members]


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize(
    ("total_gib", "cores", "expected", "preset"),
    [
        pytest.param(3.5, 2, ["two"], "fast", id="hardly any memory: the smallest alone"),
        pytest.param(6, 4, ["two"], "fast", id="little memory"),
        pytest.param(12, 4, ["four", "nine"], "fast", id="two tiers"),
        pytest.param(64, 16, ["big", "nine", "four"], "quality", id="all three"),
        pytest.param(64, 4, ["big", "nine", "four"], "balanced", id="few cores"),
    ],
)
def test_it_has_the_best_of_each_tier_that_go_together(
    make_node: MakeNode, total_gib: float, cores: int, expected: list[str], preset: str
) -> None:
    make_node(hardware(total_gib, cores=cores))

    profile = made()

    assert members(profile) == expected
    assert profile.profile.preset == preset
    assert profile.memory_mib <= profile.room_mib


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize("total_gib", [3.5, 6, 8, 12, 16, 24, 32, 64, 128])
@pytest.mark.parametrize("task", ["general", "coding", "analysis", "creative"])
def test_it_passes_validation_and_its_plan_fits_the_node(
    make_node: MakeNode, total_gib: float, task: str
) -> None:
    make_node(hardware(total_gib, cores=8))

    profile = made(task)

    assert validate(profile.profile).errors == []
    plan = make_plan(profile.profile)
    assert plan.memory_after_mib == profile.memory_mib
    assert plan.memory_after_mib <= place_of(NODE).room.total_mib
    assert plan.missing == []


@pytest.mark.usefixtures("all_sizes")
def test_it_is_a_profile_like_any_other_and_nothing_is_activated(make_node: MakeNode) -> None:
    make_node(hardware(64, cores=8))

    profile = Profile.objects.get(pk=made().profile.pk)
    document = as_document(profile)

    assert not profile.is_active
    assert profile.version == 1
    assert (
        profile.description == "Recommended for general on node elsewhere, a high-end machine"
    )
    assert [tier["name"] for tier in document["tier_config"]] == [
        "fast",
        "balanced",
        "powerful",
    ]
    assert document["enabled_models"][0] == {
        "model_id": "big",
        "run_settings": {
            "ctx_size": 32768, "threads": 6, "parallel": 2, "kv_unified": True
        },
    }  # fmt: skip
    entry = AuditEntry.objects.get(action="create", target_kind="profile")
    assert entry.who == "somebody"


@pytest.mark.usefixtures("all_sizes")
def test_a_tier_that_has_no_model_has_no_rule(make_node: MakeNode) -> None:
    make_node(hardware(12))

    profile = made()

    assert profile.warnings == []
    tiers = as_document(profile.profile)["tier_config"]
    assert [(tier["name"], tier["max_score"]) for tier in tiers] == [
        ("fast", 3.0), ("balanced", None)
    ]  # fmt: skip


def test_all_of_them_share_the_gpus_in_the_order_of_their_points(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(64, cores=8, gpus=(gpu(24),)), has_devices=True)
    on_node("two", 2)
    on_node("big", 32)

    profile = made()
    layers = {
        each.recommendation.model.model_id: each.fit.n_gpu_layers for each in profile.members
    }

    assert layers["big"] == "all"
    assert layers["two"] != "all"
    assert sum(each.fit.needed.vram_mib for each in profile.members) <= (24 - 0.5) * 1024


def test_code_is_asked_for_with_the_preset_for_code(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16))
    on_node("coder", 4, is_coder=True)

    assert made("coding").profile.preset == "code"


def test_for_embeddings_it_is_the_one_best_model(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(16))
    for model_id, billions in (("small", 0.1), ("large", 0.6)):
        on_node(
            model_id, billions, kind=ModelKind.EMBEDDING, assigned_tier="", context_length=512
        )
    on_node("four", 4)

    profile = made("embedding")

    assert members(profile) == ["large"]
    assert validate(profile.profile).errors == []


def test_where_nothing_fits_there_is_no_profile(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(2))
    on_node("four", 4)

    with pytest.raises(NothingFitsError, match="The memory is not enough"):
        made()
    assert not Profile.objects.exists()


@pytest.mark.usefixtures("all_sizes")
def test_one_that_is_there_is_not_replaced(make_node: MakeNode) -> None:
    make_node(hardware(16))
    made()

    with pytest.raises(ProfileExistsError):
        made()


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize("name", ["", "///", "../up", "x" * 101, "\0"])
def test_a_name_that_is_none_is_refused(make_node: MakeNode, name: str) -> None:
    make_node(hardware(16))

    with pytest.raises(ProfileInvalidError):
        made(name=name)
    assert not Profile.objects.exists()
