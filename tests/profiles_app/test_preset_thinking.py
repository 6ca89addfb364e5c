"""Whether a preset's answers carry the reasoning: ours to do, and not llama-server's."""

import json
import tomllib
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from profiles_app import presets
from profiles_app.errors import PresetInvalidError
from profiles_app.preset_models import SamplingPreset, Thinking
from profiles_app.presetfile import SAMPLING_FIELDS

pytestmark = pytest.mark.django_db


def test_a_preset_shows_the_reasoning_unless_it_says_else() -> None:
    assert presets.create_preset("mine").thinking == "show"
    assert presets.update_preset("mine", thinking="hide").thinking == "hide"
    assert presets.update_preset("mine", thinking=None).thinking == "show"


@pytest.mark.parametrize("thinking", ["", "Hide", True])
def test_another_word_is_refused(thinking: object) -> None:
    with pytest.raises(PresetInvalidError, match=r"thinking: .* is none of show, hide"):
        presets.create_preset("mine", thinking=thinking)


def test_the_database_knows_the_words_too() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        SamplingPreset.objects.create(name="mine", thinking="maybe")

    for word in Thinking.values:
        assert SAMPLING_FIELDS["thinking"].check(word) == ""


def test_llama_server_is_not_told_of_it() -> None:
    preset = presets.create_preset("mine", top_k=3, thinking="hide")

    assert "thinking" not in presets.REQUEST_FIELDS
    assert presets.request_defaults(preset) == {"top_k": 3}


def test_a_file_names_it_where_it_hides(tmp_path: Path) -> None:
    presets.create_preset("loud", thinking="show")
    presets.create_preset("quiet", thinking="hide")
    exported = presets.export_presets()
    presets.update_preset("quiet", thinking="show")
    (tmp_path / "presets.toml").write_text(exported)

    imported = presets.import_presets(tmp_path / "presets.toml")

    tables = tomllib.loads(exported)["performance_profiles"]
    assert tables == {"loud": {}, "quiet": {"thinking": "hide"}}
    assert imported.changed == {"performance_profiles.quiet": ["thinking"]}


def test_a_preset_is_made_to_hide_it_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("presets", "new", "mine", "--thinking", "hide", "--json")
    assert json.loads(capsys.readouterr().out)["thinking"] == "hide"

    call_command("presets", "list")
    assert "hide" in capsys.readouterr().out

    call_command("presets", "set", "mine", "--unset", "thinking")
    assert presets.get_preset("mine").thinking == "show"
