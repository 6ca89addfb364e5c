"""`manage.py registry`: out in the guide's shape, and overrides back in."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from models_app.models import DiscoveredModel
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db

GUIDE = {
    "models": {
        "qwen_14b_q4km_balanced": {
            "file_path": "/elsewhere/Qwen3-4B-Q4_K_M.gguf",
            "filename": "Qwen3-4B-Q4_K_M.gguf",
            "thinking_override": None,
            "tier_override": "balanced",
            "enabled": True,
        },
        "gone_8b_q4km_powerful": {"filename": "gone.gguf", "tier_override": None},
    },
    "scan_path": "/elsewhere",
    "port_range": [8080, 8099],
}


def write(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def test_export_writes_what_the_api_answers(
    tmp_path: Path, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model(tier_override="powerful")
    make_profile("mine", "qwen3_4p0b_q4km_fast", is_active=True)

    call_command("registry", "export", str(tmp_path / "model_registry.json"))

    document = json.loads((tmp_path / "model_registry.json").read_text())
    model = document["models"]["qwen3_4p0b_q4km_fast"]
    assert (model["tier_override"], model["enabled"]) == ("powerful", True)
    assert document["port_range"] == [8080, 8099]


def test_what_was_exported_is_imported(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model(tier_override="powerful", thinking_override=True)
    file = str(tmp_path / "registry.json")
    call_command("registry", "export", file)
    DiscoveredModel.objects.update(tier_override="", thinking_override=None)

    call_command("registry", "import", file)

    model.refresh_from_db()
    assert (model.tier_override, model.thinking_override) == ("powerful", True)


def test_the_guides_own_file_is_matched_by_file_name_and_enables_nothing(
    tmp_path: Path,
    make_model: MakeModel,
    make_profile: MakeProfile,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model(filename="Qwen3-4B-Q4_K_M.gguf")
    profile = make_profile("mine", is_active=True)

    call_command("registry", "import", write(tmp_path / "r.json", GUIDE), json=True)

    assert json.loads(capsys.readouterr().out) == {
        "changed": ["qwen3_4p0b_q4km_fast"],
        "unchanged": [],
        "not_here": ["gone_8b_q4km_powerful"],
    }
    model.refresh_from_db()
    assert model.tier == "balanced"
    assert not profile.members.exists()


def test_a_file_name_that_two_models_have_decides_nothing(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model("a", filename="Qwen3-4B-Q4_K_M.gguf")
    make_model("b", filename="Qwen3-4B-Q4_K_M.gguf")

    call_command("registry", "import", write(tmp_path / "r.json", GUIDE))

    assert "Model not found: qwen_14b_q4km_balanced" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        pytest.param("{", "is not JSON", id="not JSON"),
        pytest.param([], "has no `models`", id="a list"),
        pytest.param({"models": {"a": 3}}, "has no `models`", id="a model that is none"),
        pytest.param(
            {"models": {"a": {"tier_override": "huge"}}},
            "a.tier_override is none of fast, balanced, powerful, null",
            id="unknown tier",
        ),
        pytest.param(
            {"models": {"a": {"tier_override": ["fast"]}}},
            "a.tier_override is none of",
            id="a tier that is a list",
        ),
        pytest.param(
            {"models": {"a": {"thinking_override": {}}}},
            "a.thinking_override is no true, false or null",
            id="thinking is an object",
        ),
        pytest.param(
            {"models": {"a": {"thinking_override": "yes"}}},
            "a.thinking_override is no true, false or null",
            id="thinking is no boolean",
        ),
    ],
)
def test_a_file_that_is_no_registry_is_refused_and_changes_nothing(
    tmp_path: Path, make_model: MakeModel, document: Any, reason: str
) -> None:
    make_model("a")

    with pytest.raises(CommandError, match=r"r\.json") as error:
        call_command("registry", "import", write(tmp_path / "r.json", document))

    assert reason in str(error.value)
    assert DiscoveredModel.objects.get().tier_override == ""


def test_a_path_that_is_no_text_is_nobodys(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model("a")
    document = {"models": {"b": {"file_path": ["/a"], "filename": {}, "tier_override": "fast"}}}

    call_command("registry", "import", write(tmp_path / "r.json", document), json=True)

    assert json.loads(capsys.readouterr().out)["not_here"] == ["b"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        call_command("registry", "import", str(tmp_path / "missing.json"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("registry", "export", str(tmp_path / "no" / "such" / "folder.json"))
