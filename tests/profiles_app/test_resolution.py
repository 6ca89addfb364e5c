"""A model's run settings, from the rows of every layer."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel, ModelKind
from models_app.rows import CTX_SIZE
from profiles_app.models import BaseRunSettings, ModelRunSettings, Profile
from profiles_app.resolution import memory_of, projector_path, settings_of, settings_of_all
from profiles_app.runsettings import MAGI, Setting
from tests.conftest import MakeModel, MakeProfile

MODEL_ID = "qwen3_4p0b_q4km_fast"
HEADER = {
    "block_count": 30,
    "head_count": 9,
    "head_count_kv": 3,
    "key_length": 64,
    "value_length": 64,
    "embedding_length": 576,
    "vocab_size": 49_152,
}


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)


def say(
    *,
    base: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    profile: Profile | None = None,
    member: dict[str, Any] | None = None,
) -> None:
    """Write a layer's rows."""
    if base is not None:
        BaseRunSettings.objects.create(pk=1, run_settings=base)
    if model is not None:
        ModelRunSettings.objects.create(model_id=MODEL_ID, run_settings=model)
    if profile is not None and member is not None:
        profile.members.filter(model_id=MODEL_ID).update(run_settings=member)


def with_settings(model: DiscoveredModel, **values: object) -> dict[str, Setting]:
    say(model=values)
    return settings_of(model, None)


def test_without_any_row_it_is_what_magi_gives(make_model: MakeModel) -> None:
    settings = settings_of(make_model(), None)

    assert settings["ctx_size"] == Setting(32768, MAGI)


def test_each_layer_is_named_by_what_it_is(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    model = make_model()
    profile = make_profile("fast-only", MODEL_ID, run_settings={"threads": 3, "parallel": 3})
    say(
        base=dict.fromkeys(["ctx_size", "batch_size", "threads", "parallel"], 1),
        model=dict.fromkeys(["batch_size", "threads", "parallel"], 2),
        profile=profile,
        member={"parallel": 4},
    )

    settings = settings_of(model, profile)

    names = ["n_gpu_layers", "ctx_size", "batch_size", "threads", "parallel"]
    assert [(settings[name].value, settings[name].origin) for name in names] == [
        (99, "MAGI"),
        (1, "base"),
        (2, "model"),
        (3, "profile fast-only"),
        (4, "profile fast-only, this model"),
    ]


def test_what_a_profile_says_counts_for_a_model_that_it_does_not_enable(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    profile = make_profile(run_settings={"jinja": "off"})

    assert settings_of(make_model(), profile)["jinja"].value == "off"


def test_another_profile_and_another_model_do_not_count(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    profile, other = make_profile("one", MODEL_ID), make_profile("two", MODEL_ID)
    say(profile=other, member={"ctx_size": 1024})
    ModelRunSettings.objects.create(model_id="another", run_settings={"ctx_size": 2048})

    assert settings_of(make_model(), profile)["ctx_size"].value == 32768


def test_the_model_and_the_machine_lower_what_is_asked_for(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: None)

    settings = settings_of(make_model(context_length=8192), None)

    assert (settings["ctx_size"].value, settings["threads"].value) == (8192, 1)


@pytest.mark.parametrize("values", [[], "ctx_size", {"extra_args": ["--rpc", "evil:1"]}])
def test_what_no_check_has_seen_is_not_launched(
    make_model: MakeModel, make_profile: MakeProfile, values: object
) -> None:
    model, profile = make_model(), make_profile("p", MODEL_ID, run_settings=values)
    ModelRunSettings.objects.create(model_id=MODEL_ID, run_settings=values)
    BaseRunSettings.objects.create(pk=1, run_settings=values)

    settings = settings_of(model, profile)

    assert settings["extra_args"].value == []
    assert settings["ctx_size"].value == 32768


def test_a_hundred_models_take_as_many_queries_as_one(
    make_model: MakeModel,
    make_profile: MakeProfile,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    ids = [f"model_{number}" for number in range(100)]
    models = [make_model(model_id) for model_id in ids]
    profile = make_profile("p", *ids)
    profile.members.filter(model_id="model_7").update(run_settings={"parallel": 7})

    with django_assert_num_queries(3):
        settings = settings_of_all(models, profile)

    assert list(settings) == ids
    assert [settings[model_id]["parallel"].value for model_id in ids[6:9]] == [1, 7, 1]


# -- what the settings say of memory


def test_with_the_guides_settings_the_memory_is_estimated_as_discovery_does(
    make_model: MakeModel,
) -> None:
    model = make_model(size_bytes=98_362_432, metadata=HEADER)

    memory = memory_of(model, with_settings(model, ubatch_size=512, batch_size=512))

    assert memory.weights_bytes == 98_362_432
    assert memory.kv_cache_bytes == 30 * 3 * (64 + 64) * CTX_SIZE * 2
    assert memory.compute_bytes == 512 * 4 * (49_152 + 12 * 576)
    assert memory.projector_bytes == 0


def test_a_header_that_says_nothing_leaves_the_weights(make_model: MakeModel) -> None:
    model = make_model(size_bytes=2**30, metadata={})

    memory = memory_of(model, settings_of(model, None))

    assert (memory.weights_bytes, memory.kv_cache_bytes) == (2**30, 0)


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        pytest.param({"ctx_size": 4096}, 4096, id="as asked for"),
        pytest.param({"ctx_size": 4096, "parallel": 4}, 4096, id="all slots together"),
        pytest.param({"ctx_size": 4096, "parallel": 4, "kv_unified": True}, 4096, id="unified"),
        pytest.param({"ctx_size": 0}, 131072, id="the model's own"),
    ],
)
def test_the_cache_is_as_long_as_the_context(
    make_model: MakeModel, values: dict[str, Any], tokens: int
) -> None:
    model = make_model(metadata=HEADER, context_length=131072)

    memory = memory_of(model, with_settings(model, **values))

    assert memory.kv_cache_bytes == 30 * 3 * (64 + 64) * tokens * 2


def test_an_unknown_context_counts_as_the_guides(make_model: MakeModel) -> None:
    model = make_model(metadata=HEADER)

    memory = memory_of(model, with_settings(model, ctx_size=0))

    assert memory.kv_cache_bytes == 30 * 3 * (64 + 64) * CTX_SIZE * 2


def test_a_quantized_cache_and_a_small_batch_take_less(make_model: MakeModel) -> None:
    model = make_model(metadata=HEADER)
    plain = memory_of(model, settings_of(model, None))

    less = memory_of(
        model, with_settings(model, cache_type_k="q8_0", cache_type_v="q8_0", ubatch_size=128)
    )

    assert less.kv_cache_bytes == plain.kv_cache_bytes * 34 / 64
    assert less.compute_bytes == plain.compute_bytes / 2


def test_adapters_and_a_draft_model_are_held_too(make_model: MakeModel, tmp_path: Path) -> None:
    for name, size in {"a.gguf": 100, "b.gguf": 20, "draft.gguf": 3}.items():
        (tmp_path / name).write_bytes(bytes(size))
    model = make_model(size_bytes=1000)
    loras = [f"{tmp_path}/a.gguf", {"path": f"{tmp_path}/b.gguf"}, f"{tmp_path}/gone.gguf"]

    memory = memory_of(
        model, with_settings(model, lora=loras, model_draft=f"{tmp_path}/draft.gguf")
    )

    assert memory.weights_bytes == 1123


# -- projectors


def test_a_projector_counts_when_it_is_given(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(bytes(77))
    model = make_model(kind=ModelKind.VISION, projector_path=str(path))

    assert memory_of(model, settings_of(model, None)).projector_bytes == 77
    assert memory_of(model, with_settings(model, mmproj="none")).projector_bytes == 0


@pytest.mark.parametrize(
    ("choice", "kind", "path"),
    [
        ("auto", ModelKind.VISION, "/found.gguf"),
        ("auto", ModelKind.EMBEDDING, ""),
        ("none", ModelKind.VISION, ""),
        ("/mine.gguf", ModelKind.TEXT, "/mine.gguf"),
    ],
)
def test_the_projector_is_the_one_found_or_the_one_named(
    make_model: MakeModel, choice: str, kind: ModelKind, path: str
) -> None:
    model = make_model(kind=kind, projector_path="/found.gguf")

    assert projector_path(model, with_settings(model, mmproj=choice)) == path
