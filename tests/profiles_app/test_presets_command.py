"""`manage.py presets`, and with it presets as files: out, in, and out again."""

import io
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles_app import modelpresets, presets
from profiles_app.preset_models import ModelPreset, SamplingPreset
from profiles_app.presetfile import FORMATS, QUALITIES, model_name_problem
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db

Capsys = pytest.CaptureFixture[str]

FILE = """
default_model = "gemma2-2b-it"

[gemma]
executable = "gemma.exe"

[model_presets.gemma2-2b-it]
weights = "C:/models/2b-it.sbs"
tokenizer = "C:/models/tokenizer.spm"
format = "sfp"

[performance_profiles.fast]
temperature = 0.7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


def answer(capsys: Capsys, *args: str) -> Any:
    """Run a command with --json, and return what it printed."""
    capsys.readouterr()
    call_command("presets", *args, "--json")
    return json.loads(capsys.readouterr().out)


# -- sampling presets


def test_a_preset_is_made_changed_shown_and_deleted(capsys: Capsys) -> None:
    made = answer(
        capsys,
        *("new", "mine", "--temperature", "0.3", "--seed", "-1", "--top-k", "3"),
        *("--stop", "a", "--stop", "[b]", "--use-case", "general"),
    )
    changed = answer(capsys, *("set", "mine", "--temperature", "0", "--unset", "top_k"))
    shown = answer(capsys, "show", "mine")
    deleted = answer(capsys, "delete", "mine")

    assert made["stop"] == ["a", "[b]"]
    assert (made["temperature"], made["top_k"], made["seed"]) == (0.3, 3, -1)
    assert changed == shown == {**made, "temperature": 0.0, "top_k": None}
    assert deleted == {"deleted": "mine"}
    assert presets.list_presets() == []


def test_tables_are_readable_and_markup_is_text(capsys: Capsys) -> None:
    presets.create_preset("mine", temperature=0.3, stop=["[/]"], description="[b]old[/b]")
    ModelPreset.objects.create(name="[i]gemma", weights="/w", size_gb=2.5)

    call_command("presets", "list")
    call_command("presets", "list", "--models")
    call_command("presets", "show", "mine")
    call_command("presets", "show", "[i]gemma", "--model")

    said = capsys.readouterr().out
    for text in ("repeat_penalty", "0.3", "'[/]'", "[b]old[/b]", "[i]gemma", "2.5", "8192"):
        assert text in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("list",), "No presets. `manage.py setup` brings"),
        (("list", "--models"), "No model presets. `manage.py presets import FILE`"),
        (("validate",), "No model presets."),
        (("detect",), "The registry has none. `manage.py rescan` looks"),
    ],
)
def test_where_nothing_is_the_next_step_is_said(
    capsys: Capsys, args: tuple[str, ...], said: str
) -> None:
    call_command("presets", *args)

    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("new", "mine", "--top-p", "2"), "Preset not saved: top_p: 2.0 is not 0 to 1"),
        (("new", "mine", "--temperature", "nan"), "temperature: nan is not 0 to 2"),
        (("new", "a.b"), "name: a name is 1 to 64 letters"),
        (("new", "fast"), "Preset 'fast' exists already. Choose another name"),
        (("set", "fast"), "Nothing to change. Give a value, such as --temperature 0.7"),
        (("set", "fast", "--seed", "1", "--unset", "seed"), "seed: given and unset at once"),
        (("set", "fast", "--unset", "zeal"), "invalid choice: 'zeal'"),
        (("show", "x"), "Available: fast. `manage.py presets list` shows presets"),
        (("delete", "x"), "Preset 'x' not found"),
        (("delete", "fast"), "Preset 'fast' is that of production. Give those another"),
        (("show", "x", "--model"), "Model preset 'x' not found. Available: none."),
        (("default", "x"), "Model preset 'x' not found"),
        (("validate", "x"), "Model preset 'x' not found"),
        (("import", "/gone.toml"), "gone.toml: cannot be read: No such file or directory"),
        (("export", "/gone/a.toml"), "cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    make_profile: MakeProfile, args: tuple[str, ...], said: str
) -> None:
    presets.create_preset("fast", temperature=0.5)
    make_profile("production", preset="fast")

    with pytest.raises(CommandError) as caught:
        call_command("presets", *args)

    assert said in str(caught.value)
    assert [preset.name for preset in presets.list_presets()] == ["fast"]


# -- model presets


def test_the_default_is_chosen_and_marked(capsys: Capsys) -> None:
    ModelPreset.objects.create(name="gemma", weights="/w")

    assert answer(capsys, "default", "gemma") == {"default_model": "gemma"}

    (listed,) = answer(capsys, "list", "--models")
    assert listed["is_default"] is True


def test_a_model_preset_is_deleted(capsys: Capsys) -> None:
    ModelPreset.objects.create(name="gemma", weights="/w")

    call_command("presets", "delete", "gemma", "--model")

    assert capsys.readouterr().out == "Deleted: gemma\n"
    assert modelpresets.list_models() == []


def test_models_that_are_not_sound_make_the_exit_status_1(
    capsys: Capsys, tmp_path: Path
) -> None:
    (tmp_path / "w.gguf").write_bytes(b"GGUF")
    ModelPreset.objects.create(name="good", weights=str(tmp_path / "w.gguf"))
    call_command("presets", "validate")
    ModelPreset.objects.create(name="gone", weights="/gone.gguf")

    with pytest.raises(CommandError, match="Not sound: 1"):
        call_command("presets", "validate")

    said = capsys.readouterr().out
    assert "good: sound" in said
    assert "gone: weights: /gone.gguf is not there" in said


def test_detected_models_are_shown(capsys: Capsys, make_model: MakeModel) -> None:
    make_model(file_path="/m/2b.sbs", filename="2b.sbs", quantization="NUQ")

    call_command("presets", "detect")
    said = capsys.readouterr().out
    (detected,) = answer(capsys, "detect")

    assert "/m/2b.sbs" in said
    assert (detected["format"], detected["size_gb"]) == ("nuq", 1.074)


# -- files


def test_an_import_says_what_it_added_changed_and_left(capsys: Capsys, file: Path) -> None:
    presets.create_preset("fast", temperature=0.7, top_k=9)
    presets.create_preset("mine")

    first = answer(capsys, "import", str(file))
    second = answer(capsys, "import", str(file))

    assert first == {
        "added": ["model_presets.gemma2-2b-it"],
        "changed": {"performance_profiles.fast": ["top_k"]},
        "unchanged": [],
        "ignored": ["gemma"],
        "default_model": "gemma2-2b-it",
    }
    assert second["changed"] == {}
    assert second["unchanged"] == [*first["changed"], *first["added"]]
    assert modelpresets.get_model("gemma2-2b-it").is_default
    assert modelpresets.get_model("gemma2-2b-it").weights == "C:/models/2b-it.sbs"
    assert presets.get_preset("mine").top_k is None


def test_an_import_is_told_in_words_as_well(capsys: Capsys, file: Path) -> None:
    presets.create_preset("fast", temperature=0.7, top_k=9)

    call_command("presets", "import", str(file))

    assert capsys.readouterr().out.splitlines() == [
        "+ model_presets.gemma2-2b-it",
        "~ performance_profiles.fast: top_k",
        "Not presets, and left alone: gemma",
        "Default model: gemma2-2b-it",
        "1 added, 1 changed, 0 unchanged, 1 ignored.",
    ]


def test_a_bad_file_changes_nothing(file: Path) -> None:
    file.write_text(FILE + "\n[performance_profiles.slow]\ntemperature = 3.5\n")

    with pytest.raises(CommandError) as caught:
        call_command("presets", "import", str(file))

    problem = "performance_profiles.slow.temperature: 3.5 is not 0 to 2"
    assert str(caught.value) == f"config.toml: {problem}"
    assert presets.list_presets() == []
    assert modelpresets.list_models() == []


@pytest.mark.parametrize("table", ["performance_profiles", "model_presets"])
def test_a_name_that_differs_only_in_case_from_one_there_is_refused(
    file: Path, table: str
) -> None:
    call_command("presets", "import", str(file))
    file.write_text(f"[{table}.{'FAST' if table[0] == 'p' else 'Gemma2-2B-it'}]\n")

    with pytest.raises(CommandError, match="differs only in case from"):
        call_command("presets", "import", str(file))


def test_an_export_goes_to_standard_output(file: Path) -> None:
    call_command("presets", "import", str(file))
    out = io.StringIO()

    call_command("presets", "export", stdout=out)

    document = tomllib.loads(out.getvalue())
    document["model_presets"]["gemma2-2b-it"].pop("context_length")
    assert document == {k: v for k, v in tomllib.loads(FILE).items() if k != "gemma"}


def test_a_file_that_is_there_is_overwritten_only_by_force(file: Path) -> None:
    with pytest.raises(CommandError, match=r"is there already\. --force overwrites it"):
        call_command("presets", "export", str(file))

    assert file.read_text() == FILE

    call_command("presets", "export", str(file), "--force")

    assert file.read_text() == ""
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_one_when_its_file_is_overwritten(file: Path) -> None:
    link = file.with_name("link.toml")
    link.symlink_to(file)

    call_command("presets", "export", str(link), "--force")

    assert link.is_symlink()
    assert file.read_text() == ""


def test_a_new_file_has_the_usual_rights(file: Path) -> None:
    call_command("presets", "export", str(file.with_name("new.toml")))

    assert len({stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}) == 1


def _optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _printable(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=longest)


def _figures(high: float) -> st.SearchStrategy[float | None]:
    return _optional(st.floats(0, high) | st.integers(0, int(high)))


STOPS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=64
)
SAMPLING = st.fixed_dictionaries(
    {
        "max_tokens": _optional(st.integers(1, 2**31 - 1)),
        "temperature": _figures(2),
        "top_p": _figures(1),
        "top_k": _optional(st.integers(0, 2**31 - 1)),
        "min_p": _figures(1),
        "repeat_penalty": _figures(10),
        "seed": _optional(st.integers(-1, 2**32 - 1)),
        "stop": st.lists(STOPS, max_size=4),
        "thinking": st.sampled_from(["show", "hide"]),
        "description": _printable(300),
        "use_case": _printable(200),
    }
)
MODELS = st.fixed_dictionaries(
    {
        "weights": _printable(1000).map("C:\\{}.sbs".format),
        "tokenizer": _printable(1024),
        "format": st.sampled_from(["", *FORMATS]),
        "size_gb": _figures(1_000_000),
        "avg_tokens_per_sec": _figures(1_000_000),
        "quality": st.sampled_from(["", *QUALITIES]),
        "use_case": _printable(300),
        "context_length": st.integers(1, 2**31 - 1),
        "min_ram_gb": _figures(1_000_000),
    }
)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
MODEL_NAMES = _printable(100).filter(lambda name: not model_name_problem(name))


def _named(
    names: st.SearchStrategy[str], values: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.lists(
        st.tuples(names, values), max_size=4, unique_by=lambda pair: pair[0].casefold()
    )
    return pairs.map(dict)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sampling=_named(NAMES, SAMPLING),
    models=_named(MODEL_NAMES, MODELS),
    has_default=st.booleans(),
)
def test_what_is_exported_is_imported_unchanged(
    tmp_path: Path,
    sampling: dict[str, dict[str, Any]],
    models: dict[str, dict[str, Any]],
    has_default: bool,
) -> None:
    SamplingPreset.objects.all().delete()
    ModelPreset.objects.all().delete()
    for name, values in sampling.items():
        SamplingPreset.objects.create(name=name, **values)
    for name, values in models.items():
        ModelPreset.objects.create(name=name, **values)
    ModelPreset.objects.filter(name__in=[*models][:1]).update(is_default=has_default)
    exported = presets.export_presets()
    (tmp_path / "presets.toml").write_text(exported, encoding="utf-8", newline="\n")

    unchanged = presets.import_presets(tmp_path / "presets.toml")
    SamplingPreset.objects.all().delete()
    ModelPreset.objects.all().delete()
    presets.import_presets(tmp_path / "presets.toml")

    assert len(unchanged.unchanged) == len(sampling) + len(models)
    assert presets.export_presets() == exported
    for name, values in sampling.items():
        assert presets.values_of(presets.get_preset(name)) == values
    for name, values in models.items():
        assert modelpresets.values_of(modelpresets.get_model(name)) == values
