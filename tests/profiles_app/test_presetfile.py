"""Presets as TOML: what is read, what is refused, and how that is said."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator

from profiles_app.errors import PresetFileError
from profiles_app.preset_models import ModelPreset, SamplingPreset
from profiles_app.presetfile import (
    MAX_FILE_BYTES,
    MODEL_FIELDS,
    SAMPLING_FIELDS,
    Presets,
    check_model,
    check_sampling,
    model_name_problem,
    presets_as_toml,
    read_preset_file,
    sampling_name_problem,
)

GEMMA_CLI = """
default_model = "gemma2-2b-it"

[gemma]
executable = "C:/codedev/gemma.exe"

[model_presets.gemma2-2b-it]
weights = "C:/models/2b-it.sbs"
tokenizer = "C:/models/tokenizer.spm"
format = "sfp"
size_gb = 2.5
avg_tokens_per_sec = 45
quality = "medium"
use_case = "Trying things out"
min_ram_gb = 4

[performance_profiles.balanced]
max_tokens = 1024
temperature = 0.7
top_p = 0.95
top_k = 50
description = "The middle"
use_case = "general"

[memory]
redis = {host = "localhost"}
"""


def read(tmp_path: Path, text: str | bytes, **known: Any) -> Presets:
    path = tmp_path / "presets.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_preset_file(path, **known)


def problems_of(tmp_path: Path, text: str | bytes, **known: Any) -> list[str]:
    with pytest.raises(PresetFileError) as caught:
        read(tmp_path, text, **known)
    return [str(problem) for problem in caught.value.problems]


def profile(line: str) -> str:
    return f"[performance_profiles.fast]\n{line}\n"


def model(line: str) -> str:
    return f'[model_presets.gemma]\nweights = "/w.gguf"\n{line}\n'


def test_a_file_of_gemma_cli_is_read(tmp_path: Path) -> None:
    presets = read(tmp_path, GEMMA_CLI)

    assert presets.sampling["balanced"] == {
        **{name: known.default for name, known in SAMPLING_FIELDS.items()},
        "max_tokens": 1024,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 50,
        "description": "The middle",
        "use_case": "general",
    }
    assert presets.models["gemma2-2b-it"] == {
        "weights": "C:/models/2b-it.sbs",
        "tokenizer": "C:/models/tokenizer.spm",
        "format": "sfp",
        "size_gb": 2.5,
        "avg_tokens_per_sec": 45,
        "quality": "medium",
        "use_case": "Trying things out",
        "context_length": 8192,
        "min_ram_gb": 4,
    }
    assert presets.default_model == "gemma2-2b-it"
    assert presets.ignored == ("gemma", "memory")


def test_the_mark_of_windows_editors_is_no_part_of_the_file(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + GEMMA_CLI.replace("\n", "\r\n").encode()

    assert read(tmp_path, text).default_model == "gemma2-2b-it"


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_holds_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Presets()


def test_the_default_model_may_stand_under_model(tmp_path: Path) -> None:
    presets = read(tmp_path, model("") + '[model]\ndefault_model = "gemma"\n')

    assert (presets.default_model, presets.ignored) == ("gemma", ())


def test_the_rest_of_that_table_is_ignored(tmp_path: Path) -> None:
    text = model("") + '[model]\ndefault_model = "gemma"\nmax = 3\n'

    assert read(tmp_path, text).ignored == ("model",)


def test_the_default_model_may_be_one_that_there_is(tmp_path: Path) -> None:
    assert read(tmp_path, 'default_model = "x"', known_models=["x"]).default_model == "x"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("temperature = 3.5", "temperature: 3.5 is not 0 to 2"),
        ("temperature = -0.1", "temperature: -0.1 is not 0 to 2"),
        ("temperature = nan", "temperature: nan is not 0 to 2"),
        ("temperature = inf", "temperature: inf is not 0 to 2"),
        ("temperature = true", "temperature: true is not a number"),
        ('temperature = "a"', 'temperature: "a" is not a number'),
        ("temperature = [1]", "temperature: a list is not a number"),
        ("top_p = 1.01", "top_p: 1.01 is not 0 to 1"),
        ("min_p = 2", "min_p: 2 is not 0 to 1"),
        ("repeat_penalty = 11", "repeat_penalty: 11 is not 0 to 10"),
        ("max_tokens = 0", "max_tokens: 0 is not 1 to 2147483647"),
        ("max_tokens = 1.0", "max_tokens: 1.0 is not a whole number"),
        ("top_k = false", "top_k: false is not a whole number"),
        ("top_k = -1", "top_k: -1 is not 0 to 2147483647"),
        ("seed = -2", "seed: -2 is not -1 to 4294967295"),
        (f"seed = 0x{'f' * 5000}", "seed: a number of 20000 bits is not -1 to 4294967295"),
        ("max_tokens = 2026-01-01", "max_tokens: 2026-01-01 is not a whole number"),
        ('stop = "x"', 'stop: "x" is not a list of texts'),
        ('stop = ["a", "b", "c", "d", "e"]', "stop: 5 texts; at most 4"),
        ('stop = ["a", ""]', "stop: item 2 is not a text of 1 to 64 characters"),
        ("stop = [1]", "stop: item 1 is not a text of 1 to 64 characters"),
        (f'stop = ["{"a" * 65}"]', "stop: item 1 is not a text of 1 to 64 characters"),
        ('stop = ["\\u0000"]', "stop: item 1 holds a character that cannot be kept"),
        ('thinking = "maybe"', 'thinking: "maybe" is none of show, hide'),
        ('thinking = ""', 'thinking: "" is none of show, hide'),
        ("thinking = true", "thinking: true is none of show, hide"),
        ("use_case = 3", "use_case: 3 is not text"),
        (f'description = "{"a" * 301}"', "description: has 301 characters; at most 300"),
        ('description = "a\\nb"', "description: holds a line break or a control character"),
        ("temprature = 1", "temprature: unknown; did you mean temperature?"),
        ("Top_K = 1", "Top_K: unknown; did you mean top_k?"),
        ("x.y = 1", "x: is a table; a preset's name that has dots is quoted"),
    ],
)
def test_what_no_sampling_preset_may_be_is_refused(
    tmp_path: Path, line: str, problem: str
) -> None:
    assert problems_of(tmp_path, profile(line)) == [f"performance_profiles.fast.{problem}"]


def test_a_key_that_is_near_to_none_is_told_the_known_ones(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, profile("zzz = 1"))

    assert problem.startswith("performance_profiles.fast.zzz: unknown; known are max_tokens, ")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("context_length = 0", "context_length: 0 is not 1 to 2147483647"),
        ("size_gb = -1", "size_gb: -1 is not 0 to 1000000"),
        ("size_gb = nan", "size_gb: nan is not 0 to 1000000"),
        ("min_ram_gb = true", "min_ram_gb: true is not a number"),
        ('quality = "hihg"', 'quality: "hihg" is none of high, medium, fast'),
        ("format = 1", "format: 1 is not text"),
        ("tokeniser = 1", "tokeniser: unknown; did you mean tokenizer?"),
        ('tokenizer = "a\\u0000"', "tokenizer: holds a line break or a control character"),
    ],
)
def test_what_no_model_preset_may_be_is_refused(
    tmp_path: Path, line: str, problem: str
) -> None:
    assert problems_of(tmp_path, model(line)) == [f"model_presets.gemma.{problem}"]


def test_gemma_weights_have_one_of_its_formats(tmp_path: Path) -> None:
    text = '[model_presets."2b"]\nweights = "2b.SBS"\nformat = "Q4_K_M"\n'

    assert problems_of(tmp_path, text) == [
        'model_presets.2b.format: "Q4_K_M" is none of sfp, bf16, f32, nuq'
    ]


def test_other_weights_have_any(tmp_path: Path) -> None:
    assert read(tmp_path, model('format = "Q4_K_M"')).models["gemma"]["format"] == "Q4_K_M"


@pytest.mark.parametrize("line", ["", 'weights = ""', 'weights = " "'])
def test_a_model_preset_without_weights_is_refused(tmp_path: Path, line: str) -> None:
    text = f"[model_presets.x]\n{line}\n"

    assert problems_of(tmp_path, text) == ["model_presets.x.weights: is missing"]


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "a\n", "a" * 65, "a" * 300])
def test_a_sampling_presets_name_is_one_of_letters_digits_and_dashes(name: str) -> None:
    assert sampling_name_problem(name) == "a name is 1 to 64 letters, digits, - and _"


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a\x1b[31m", "a\u2028b", "a" * 300])
def test_a_model_presets_name_is_printable_and_short(name: str) -> None:
    assert model_name_problem(name).startswith("the name ")


@pytest.mark.parametrize("name", ["gemma2-2b-it", "gemma 2.5", "モデル\u3000一", "a" * 100])
def test_a_model_presets_name_may_be_any_other_text(name: str) -> None:
    assert model_name_problem(name) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f"[performance_profiles.{'a' * 300}]",
            f'performance_profiles."{"a" * 40}…": a name is 1 to 64 letters, digits, - and _',
            id="300 characters",
        ),
        pytest.param(
            '[performance_profiles.""]',
            'performance_profiles."": a name is 1 to 64 letters, digits, - and _',
            id="empty",
        ),
        pytest.param(
            '[model_presets."\\u001b[31m"]\nweights = "w"',
            'model_presets."\\u001b[31m": the name holds a line break or a control character',
            id="an escape sequence",
        ),
        pytest.param(
            "[performance_profiles.a]\n[performance_profiles.A]",
            'performance_profiles.A: differs only in case from "a"',
            id="two that differ in case",
        ),
        pytest.param(
            "[performance_profiles.Mine]",
            'performance_profiles.Mine: differs only in case from "mine"',
            id="one that differs from a known one",
        ),
        pytest.param(
            "[performance_profiles]\nfast = 3",
            "performance_profiles.fast: 3 is not a table",
            id="a number for a preset",
        ),
        pytest.param(
            "performance_profiles = true",
            "performance_profiles: true is not a table",
            id="a boolean for all",
        ),
        pytest.param("[[model_presets]]", "model_presets: a list is not a table", id="a list"),
        pytest.param("default_model = 1", "default_model: 1 is not text", id="number"),
        pytest.param(
            'default_model = "gema"\n' + model(""),
            'default_model: "gema" is no model of this file or of MAGI; did you mean "gemma"?',
            id="a default that is not there",
        ),
        pytest.param(
            'default_model = "gemma"\n' + model("") + '[model]\ndefault_model = "there"',
            "model.default_model: is not the default_model above",
            id="two defaults",
        ),
        pytest.param(
            "[tool.ruff]\nline-length = 96",
            "has neither performance_profiles nor model_presets",
            id="another program's file",
        ),
    ],
)
def test_what_is_no_file_of_presets_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    known = {"known_sampling": ["mine"], "known_models": ["there"]}

    assert problems_of(tmp_path, text, **known) == [problem]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(b"a = 1\nb = [\n", "is not TOML: ", id="an array that does not end"),
        pytest.param(b"a = 1\na = 2\n", "(at line 2, column 6)", id="a key twice"),
        pytest.param(b'w = "C:\\models"\n', "(at line 1, column 10)", id="one backslash"),
        pytest.param(b"a = 1\n# \xff\n", "is not UTF-8 (at line 2)", id="latin-1"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), "is larger than 262144 bytes", id="large"),
        pytest.param(b"a = " + b"[" * 9999, "is nested too deeply", id="deep"),
        pytest.param(b"a = " + b"9" * 9999, "a number or a date that cannot be", id="digits"),
        pytest.param(
            b"\n" + b"a." * 120_000 + b"a = 1", "more than 200 dots (at line 2)", id="dots"
        ),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(
    tmp_path: Path, raw: bytes, problem: str
) -> None:
    (said,) = problems_of(tmp_path, raw)

    assert problem in said


def test_a_file_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    assert read(tmp_path, b"#" * MAX_FILE_BYTES) == Presets()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PresetFileError, match=r"gone.toml: cannot be read: No such file"):
        read_preset_file(tmp_path / "gone.toml")


def test_one_error_lists_all_problems(tmp_path: Path) -> None:
    text = profile("temperature = 3.5\ntop_k = true") + model("size = 1") + "[model_presets.a]"

    with pytest.raises(PresetFileError) as caught:
        read(tmp_path, text)

    assert str(caught.value).splitlines() == [
        "presets.toml:",
        "  performance_profiles.fast.temperature: 3.5 is not 0 to 2",
        "  performance_profiles.fast.top_k: true is not a whole number",
        "  model_presets.gemma.size: unknown; did you mean size_gb?",
        "  model_presets.a.weights: is missing",
    ]


@pytest.mark.parametrize("kind", [SamplingPreset, ModelPreset])
def test_file_and_database_have_the_same_limits(
    kind: type[SamplingPreset | ModelPreset],
) -> None:
    check = check_sampling if kind is SamplingPreset else check_model
    fields = SAMPLING_FIELDS if kind is SamplingPreset else MODEL_FIELDS
    columns = {column.name: column for column in kind._meta.fields}

    assert set(columns) == {"id", "name", *fields} | ({"is_default"} & set(columns))
    for name in fields:
        for limit in columns[name].validators:
            match limit:
                case MinValueValidator(limit_value=low):
                    outside: object = low - 1
                case MaxValueValidator(limit_value=high):
                    outside = high + 1
                case MaxLengthValidator(limit_value=longest):
                    outside = "a" * (longest + 1)
                case _:
                    continue
            assert [problem.path for problem in check({name: outside})[1]][:1] == [name]


def test_the_figures_that_gemma_cli_reads_as_integers_are_written_so() -> None:
    values = {"weights": "w", "avg_tokens_per_sec": 45.0, "min_ram_gb": 4.5, "size_gb": 2.0}

    text = presets_as_toml(Presets(models={"m": check_model(values)[0]}))

    assert tomllib.loads(text)["model_presets"]["m"] == {
        "weights": "w",
        "avg_tokens_per_sec": 45,
        "min_ram_gb": 4.5,
        "size_gb": 2.0,
        "context_length": 8192,
    }
    assert "avg_tokens_per_sec = 45\n" in text
