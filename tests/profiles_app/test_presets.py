"""The services of sampling presets and of model presets, and their pages in the admin."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel, ScanRoot
from profiles_app import modelpresets, presets
from profiles_app.errors import (
    PresetExistsError,
    PresetInUseError,
    PresetInvalidError,
    PresetNotFoundError,
)
from profiles_app.preset_models import ModelPreset, SamplingPreset
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db

SHIPPED = ["balanced", "code", "fast", "quality"]
GIB = 2**30
TYPED = {"name": "mine", "stop": "[]", "thinking": "show"}


def names() -> list[str]:
    return [preset.name for preset in presets.list_presets()]


def sparse(path: Path, size_bytes: int) -> str:
    """Write a file of that size that takes no room on the disk."""
    path.touch()
    os.truncate(path, size_bytes)
    return str(path)


def gemma_pair(folder: Path, *, size: int = 2_500_000_000, **values: object) -> ModelPreset:
    weights = sparse(folder / "2b-it.sbs", size)
    tokenizer = sparse(folder / "tokenizer.spm", 4_000_000)
    fields = {"weights": weights, "tokenizer": tokenizer, "size_gb": 2.5, **values}
    return ModelPreset.objects.create(name="gemma2-2b-it", **fields)


def test_the_presets_of_the_guide_ship() -> None:
    created = presets.ensure_shipped_presets()

    assert sorted(created) == names() == SHIPPED
    balanced = presets.request_defaults(presets.get_preset("balanced"))
    assert balanced == {"max_tokens": 1024, "temperature": 0.7, "top_p": 0.95, "top_k": 50}
    code = presets.request_defaults(presets.get_preset("code"))
    assert code == {"max_tokens": 2048, "temperature": 0.2, "top_p": 0.85, "top_k": 20}
    assert presets.get_preset("fast").max_tokens == 512
    assert presets.get_preset("quality").max_tokens == 2048


def test_a_shipped_preset_that_was_changed_stays_so() -> None:
    presets.ensure_shipped_presets()
    presets.update_preset("fast", temperature=1.5)

    assert presets.ensure_shipped_presets() == []
    assert presets.get_preset("fast").temperature == 1.5


def test_a_shipped_preset_that_was_deleted_does_not_come_back() -> None:
    presets.ensure_shipped_presets()
    presets.delete_preset("fast")

    presets.ensure_shipped_presets()

    assert names() == ["balanced", "code", "quality"]


def test_a_preset_keeps_what_it_was_given() -> None:
    presets.create_preset("mine", temperature=0.0, stop=["\n\n"], description="Mine")

    preset = presets.get_preset("mine")
    assert (preset.temperature, preset.stop, preset.top_p) == (0.0, ["\n\n"], None)
    assert preset.description == "Mine"


def test_a_request_gets_the_values_that_are_set_and_no_others() -> None:
    preset = presets.create_preset(
        "mine", temperature=0, top_k=0, seed=-1, stop=["x"], use_case="general"
    )

    defaults = presets.request_defaults(preset)

    assert defaults == {"temperature": 0, "top_k": 0, "seed": -1, "stop": ["x"]}


def test_a_request_gets_nothing_from_an_empty_preset() -> None:
    assert presets.request_defaults(presets.create_preset("mine")) == {}


def test_a_change_leaves_the_other_values_alone() -> None:
    presets.create_preset("mine", temperature=0.5, top_k=3, stop=["x"], description="Mine")

    presets.update_preset("mine", top_k=None, stop=None, description=None)

    assert presets.values_of(presets.get_preset("mine")) == {
        **dict.fromkeys(presets.REQUEST_FIELDS),
        "temperature": 0.5,
        "stop": [],
        "thinking": "show",
        "description": "",
        "use_case": "",
    }


def test_what_is_wrong_is_said_at_once_and_nothing_is_saved() -> None:
    with pytest.raises(PresetInvalidError) as caught:
        presets.create_preset("a b", temperature=3, top_p=True, temprature=1)

    assert str(caught.value).splitlines() == [
        "Preset not saved:",
        "  name: a name is 1 to 64 letters, digits, - and _",
        "  temperature: 3 is not 0 to 2",
        "  top_p: true is not a number",
        "  temprature: unknown; did you mean temperature?",
    ]
    assert names() == []


def test_a_wrong_change_changes_nothing() -> None:
    presets.create_preset("mine", temperature=0.5)

    with pytest.raises(PresetInvalidError, match="Preset 'mine' not changed: top_k: -1 is"):
        presets.update_preset("mine", temperature=0.1, top_k=-1)

    assert presets.get_preset("mine").temperature == 0.5


@pytest.mark.parametrize(
    ("name", "problem"),
    [("mine", "'mine' exists already"), ("Mine", "differs only in case from 'mine'")],
)
def test_a_name_is_given_once(name: str, problem: str) -> None:
    presets.create_preset("mine")

    with pytest.raises(PresetExistsError, match=problem):
        presets.create_preset(name)


def test_a_preset_that_is_not_there_is_named() -> None:
    presets.create_preset("mine")

    with pytest.raises(PresetNotFoundError, match=r"Preset 'x' not found. Available: mine\."):
        presets.update_preset("x", top_k=1)


def test_a_preset_that_profiles_have_is_not_deleted(make_profile: MakeProfile) -> None:
    presets.create_preset("mine")
    make_profile("production", preset="mine")

    with pytest.raises(PresetInUseError, match="Preset 'mine' is that of production"):
        presets.delete_preset("mine")

    assert names() == ["mine"]


def test_one_model_is_the_default() -> None:
    for name in ("a", "b"):
        ModelPreset.objects.create(name=name, weights="/w")
        modelpresets.set_default_model(name)

    assert [(model.name, model.is_default) for model in modelpresets.list_models()] == [
        ("a", False),
        ("b", True),
    ]


def test_a_default_that_is_not_there_leaves_the_old_one() -> None:
    ModelPreset.objects.create(name="a", weights="/w", is_default=True)

    with pytest.raises(
        PresetNotFoundError, match=r"Model preset 'x' not found. Available: a\."
    ):
        modelpresets.set_default_model("x")

    assert modelpresets.get_model("a").is_default


@pytest.mark.parametrize("unit", [10**9, GIB])
@pytest.mark.parametrize("share", [0.9, 1.0, 1.1])
def test_weights_of_about_the_size_that_the_preset_says_are_sound(
    tmp_path: Path, unit: int, share: float
) -> None:
    assert modelpresets.validate_model(gemma_pair(tmp_path, size=int(2.5 * share * unit))) == []


@pytest.mark.parametrize("size_bytes", [2_249_999_990, int(2.5 * 1.1 * GIB) + 10])
def test_weights_of_another_size_are_not(tmp_path: Path, size_bytes: int) -> None:
    (problem,) = modelpresets.validate_model(gemma_pair(tmp_path, size=size_bytes))

    assert "GB on disk, and the preset says 2.5" in problem


def test_any_size_will_do_where_none_is_said(tmp_path: Path) -> None:
    assert modelpresets.validate_model(gemma_pair(tmp_path, size=1, size_gb=None)) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"weights": "/gone/2b.sbs"}, "weights: /gone/2b.sbs is not there"),
        ({"weights": "2b.sbs"}, "weights: 2b.sbs is no absolute path"),
        ({"weights": "C:/m/2b.sbs"}, "weights: C:/m/2b.sbs is a path of Windows, not of here"),
        ({"weights": "/dev"}, "weights: /dev is not a file"),
        ({"tokenizer": "/gone/t.spm"}, "tokenizer: /gone/t.spm is not there"),
        ({"tokenizer": ""}, "tokenizer: none is named; *.sbs weights have one (*.spm)"),
        ({"weights": "~no-such-user/w"}, "weights: ~no-such-user/w is no absolute path"),
    ],
)
def test_files_that_are_not_there_are_told_of(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    assert modelpresets.validate_model(gemma_pair(tmp_path, **values)) == [problem]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.gguf")

    (problem,) = modelpresets.validate_model(ModelPreset(weights=str(tmp_path / "w.gguf")))

    assert problem.endswith("w.gguf is not a file")


def test_files_that_may_not_be_read_are_told_of(tmp_path: Path) -> None:
    preset = ModelPreset(weights=sparse(tmp_path / "w.gguf", 1))
    Path(preset.weights).chmod(0)
    was = os.geteuid()
    os.seteuid(was or 65_534)  # no mode bit stops root

    try:
        (problem,) = modelpresets.validate_model(preset)
    finally:
        os.seteuid(was)

    assert problem.endswith("w.gguf cannot be read: Permission denied")


def test_all_shards_are_looked_at(tmp_path: Path) -> None:
    first = sparse(tmp_path / "big-00001-of-00002.gguf", 10**9)
    second = Path(sparse(tmp_path / "big-00002-of-00002.gguf", 10**9))
    preset = ModelPreset(weights=first, size_gb=2)

    assert modelpresets.validate_model(preset) == []

    second.unlink()
    assert modelpresets.validate_model(preset) == [f"weights: {second} is not there"]


def test_a_name_that_promises_many_shards_does_not_fill_the_screen(tmp_path: Path) -> None:
    preset = ModelPreset(weights=str(tmp_path / "big-00001-of-99999.gguf"))

    problems = modelpresets.validate_model(preset)

    assert problems[3:] == ["weights: 99996 more of its files are not right"]


def test_the_models_of_the_registry_are_detected(tmp_path: Path, make_model: MakeModel) -> None:
    preset = gemma_pair(tmp_path)
    make_model("gone_1b", is_missing=True)
    make_model("broken_1b", problem="truncated")
    make_model("qwen_4b", size_bytes=2_497_281_120, context_length=40_960)
    make_model(
        "gemma_2b",
        file_path=preset.weights,
        filename="2b-it.sbs",
        quantization="SFP",
        problem="gemma.cpp weights: llama-server cannot load them",
    )

    gemma, qwen = modelpresets.detect_models()

    assert (gemma.tokenizer, gemma.format) == (preset.tokenizer, "sfp")
    assert (gemma.name, gemma.preset) == ("gemma_2b", "gemma2-2b-it")
    assert (qwen.weights, qwen.tokenizer, qwen.preset) == ("/models/qwen_4b.gguf", "", "")
    assert (qwen.format, qwen.size_gb, qwen.context_length) == ("Q4_K_M", 2.497, 40_960)
    assert DiscoveredModel.objects.count() == 4


def test_weights_whose_folder_has_gone_are_detected_without_a_tokenizer(
    make_model: MakeModel,
) -> None:
    make_model(file_path="/gone/2b.sbs", filename="2b.sbs")

    (gemma,) = modelpresets.detect_models()

    assert gemma.tokenizer == ""


def sampling_page(preset: SamplingPreset | None = None) -> str:
    page = "admin:profiles_app_samplingpreset"
    return reverse(f"{page}_change", args=[preset.pk]) if preset else reverse(f"{page}_add")


def test_the_lists_take_few_queries(
    admin_client: Client,
    tmp_path: Path,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    presets.ensure_shipped_presets()
    gemma_pair(tmp_path)

    for name, text in (("samplingpreset", "quality"), ("modelpreset", "gemma2-2b-it")):
        with django_assert_max_num_queries(8):
            page = admin_client.get(reverse(f"admin:profiles_app_{name}_changelist"))
        assert text in page.content.decode()


def test_a_preset_is_typed_in(admin_client: Client) -> None:
    admin_client.post(sampling_page(), TYPED | {"top_k": "3", "stop": '["a", "\\n"]'})

    assert presets.request_defaults(presets.get_preset("mine")) == {
        "top_k": 3,
        "stop": ["a", "\n"],
    }


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"stop": '"a"'}, "a&quot; is not a list of texts."),
        ({"stop": "false"}, "False is not a list of texts."),
        ({"stop": '["a", "b", "c", "d", "e"]'}, "5 texts; at most 4."),
        ({"stop": '[""]'}, "Item 1 is not a text of 1 to 64 characters."),
        ({"stop": "[}"}, "Enter a valid JSON."),
        ({"temperature": "2.5"}, "2.5 is not 0 to 2."),
        ({"temperature": "nan"}, "Enter a number."),
        ({"description": "a\x1b[31m"}, "Holds a line break or a control character."),
        ({"name": "MINE"}, "This differs only in case from mine."),
        ({"name": "a b"}, "Enter a valid “slug”"),
    ],
)
def test_what_is_typed_wrongly_is_told_at_its_field(
    admin_client: Client, typed: dict[str, str], said: str
) -> None:
    presets.create_preset("mine")

    page = admin_client.post(sampling_page(), TYPED | {"name": "new"} | typed)

    assert page.context["adminform"].form.errors.keys() == typed.keys()
    assert said.lower() in page.content.decode().lower()
    assert names() == ["mine"]


def test_the_name_stays_and_a_used_preset_cannot_be_deleted(
    admin_client: Client, make_profile: MakeProfile
) -> None:
    preset = presets.create_preset("mine", top_k=3)
    make_profile("production", preset="mine")

    admin_client.post(sampling_page(preset), TYPED | {"name": "yours", "top_k": "4"})

    assert presets.get_preset("mine").top_k == 4
    delete = reverse("admin:profiles_app_samplingpreset_delete", args=[preset.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"weights": "2b.sbs", "format": "q4"}, "format"),
        ({"context_length": "0"}, "context_length"),
        ({"quality": "best"}, "quality"),
        ({"name": "A\u2028B"}, "name"),
        ({"weights": " "}, "weights"),
    ],
)
def test_a_model_preset_is_held_against_the_same_rules(
    admin_client: Client, typed: dict[str, str], field: str
) -> None:
    values = {"name": "new", "weights": "/w.gguf", "context_length": "8192", **typed}

    page = admin_client.post(reverse("admin:profiles_app_modelpreset_add"), values)

    assert list(page.context["adminform"].form.errors) == [field]


def test_model_presets_are_validated_and_made_the_default(
    admin_client: Client, tmp_path: Path
) -> None:
    ScanRoot.objects.create(node="local", path=str(tmp_path))
    preset = gemma_pair(tmp_path, tokenizer=str(tmp_path / "gone.spm"))
    page = reverse("admin:profiles_app_modelpreset_changelist")

    for action, said in (
        ("validate_selected", "gone.spm is not there"),
        ("make_default", "Default model: gemma2-2b-it."),
    ):
        chosen = {"action": action, "_selected_action": [preset.pk]}
        assert said in admin_client.post(page, chosen, follow=True).content.decode()

    assert modelpresets.get_model("gemma2-2b-it").is_default
