"""Which run settings llama-server may be given."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.runsettings import FIELDS, Adapter, adapters, check

HUGE = 10**5000  # more digits than Python writes


def problems(**values: object) -> list[tuple[str, str]]:
    return check(values)[1]


GOOD: dict[str, list[Any]] = {
    "ctx_size": [0, 4096, 10_000_000],
    "n_gpu_layers": [0, 99, "auto", "all"],
    "threads": [1, 512],
    "threads_batch": [1, 512],
    "batch_size": [1, 2048],
    "ubatch_size": [1, 512],
    "parallel": [1, 64],
    "kv_unified": [True, False],
    "flash_attn": ["on", "off", "auto"],
    "cache_type_k": ["f16", "q8_0", "iq4_nl"],
    "cache_type_v": ["f32", "q4_0"],
    "load_mode": ["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"],
    "mmproj": ["auto", "none", "/models/mmproj F16.gguf"],
    "lora": [[], ["/a.gguf", {"path": "/b.GGUF", "scale": 0.5}, {"path": "/c.gguf"}]],
    "model_draft": ["/models/draft.gguf"],
    "jinja": ["auto", "on", "off"],
    "extra_args": [[], ["--temp", "0.7", "--context-shift"]],
}
BAD: dict[str, list[Any]] = {
    "ctx_size": [-1, 10_000_001, "4096"],
    "n_gpu_layers": [-1, "some", 2**31],
    "threads": [0, 513],
    "threads_batch": [0, "auto"],
    "batch_size": [0],
    "ubatch_size": [0],
    "parallel": [0, 65],
    "kv_unified": [0, "on"],
    "flash_attn": [1, "ON", "yes"],
    "cache_type_k": ["F16", "q2_k", ""],
    "cache_type_v": ["q3_k"],
    "load_mode": ["mlock+mmap", True],
    "mmproj": ["mmproj.gguf", "~/mmproj.gguf", "/mmproj", "/a\0.gguf", "/a\n.gguf", True],
    "lora": ["/a.gguf", [["/a.gguf"]] * 17, {"path": "/a.gguf"}],
    "model_draft": ["auto", "/m.bin", f"/{'m' * 1024}.gguf", "/\udcff.gguf"],
    "jinja": ["yes", 1],
    "extra_args": ["--temp 1", {}, ["--escape"] * 65],
}
NEVER = [HUGE, -HUGE, math.nan, math.inf, -math.inf, 1.5, b"auto", object(), {"a": 1}, ("on",)]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD.items() for value in values]
)
def test_a_value_is_taken_as_it_is_given(name: str, value: object) -> None:
    assert check({name: value}) == ({name: value}, [])


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_value_that_llama_server_would_not_take_is_refused(name: str, value: object) -> None:
    cleaned, found = check({name: value})

    assert cleaned == {}
    assert found[0][0].partition("[")[0] == name


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", NEVER, ids=lambda value: type(value).__name__)
def test_what_is_no_value_of_anything_is_refused_everywhere(name: str, value: object) -> None:
    assert check({name: value})[0] == {}


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "kv_unified"])
def test_a_truth_value_is_no_number_and_no_text(name: str) -> None:
    is_on_or_off = name in {"flash_attn", "jinja"}

    assert (problems(**{name: True}) == []) is is_on_or_off


def test_the_on_and_off_that_yaml_makes_truth_values_of_are_words_again() -> None:
    cleaned, found = check({"flash_attn": True, "jinja": False})

    assert cleaned == {"flash_attn": "on", "jinja": "off"}
    assert found == []


def test_null_is_kept_for_every_setting() -> None:
    nothing = dict.fromkeys(FIELDS)

    assert check(nothing) == (nothing, [])


@pytest.mark.parametrize("values", [None, [], "ctx_size", 1])
def test_a_layer_is_a_mapping(values: object) -> None:
    cleaned, found = check(values)

    assert cleaned == {}
    assert found == [("", "Run settings are a mapping of names to values.")]


def test_all_that_is_wrong_is_said_at_once() -> None:
    cleaned, found = check(
        {
            "ctx_size": 4096,
            "threads": True,
            "parallel": 0,
            "lora": ["/a.gguf", "b.gguf", {"path": "/c,d.gguf", "scale": -1, "scael": 1}],
            "extra_args": ["--temp", "0.7", "--tools", "all", 5],
        }
    )

    assert cleaned == {"ctx_size": 4096}
    assert [place for place, _ in found] == [
        "threads",
        "parallel",
        "lora[1]",
        "lora[2].scael",
        "lora[2]",
        "lora[2].scale",
        "extra_args[2]",
        "extra_args[4]",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ctx-size", "Unknown; did you mean ctx_size?"),
        ("gpu_layers", "Unknown; did you mean n_gpu_layers?"),
        ("zzz", f"Unknown; known are {', '.join(FIELDS)}."),
    ],
)
def test_of_an_unknown_name_the_nearest_known_one_is_told(name: str, sentence: str) -> None:
    assert check({name: 1})[1] == [(name, sentence)]


@pytest.mark.parametrize(
    "name", [1, HUGE, None, "x" * 10**6, ("a",)], ids=lambda name: type(name).__name__
)
def test_any_key_can_be_unknown(name: object) -> None:
    ((place, _),) = check({name: 1})[1]

    assert len(place) <= 64


@pytest.mark.parametrize("character", [",", ":", '"'])
def test_an_adapter_is_not_called_what_llama_server_would_take_apart(character: str) -> None:
    assert problems(lora=[f"/a{character}b.gguf"])[0][0] == "lora[0]"


@pytest.mark.parametrize("scale", [True, "1", None, math.nan, math.inf, -0.1, 101])
def test_a_scale_is_a_number_in_bounds(scale: object) -> None:
    found = problems(lora=[{"path": "/a.gguf", "scale": scale}])

    assert found == [("lora[0].scale", "Give a number from 0 to 100.")]


def test_adapters_are_the_same_however_they_are_written() -> None:
    written: list[str | dict[str, Any]] = [
        "/a.gguf",
        {"path": "/b.gguf"},
        {"path": "/c.gguf", "scale": 0.5},
    ]

    assert adapters(written) == [
        Adapter("/a.gguf", 1.0),
        Adapter("/b.gguf", 1.0),
        Adapter("/c.gguf", 0.5),
    ]


def test_a_micro_batch_is_no_larger_than_its_batch() -> None:
    cleaned, found = check({"batch_size": 256, "ubatch_size": 512})

    assert cleaned == {"batch_size": 256}
    assert found == [("ubatch_size", "Give no more than batch_size, 256.")]


@pytest.mark.parametrize(
    ("cache_type", "flash_attn", "places"),
    [
        ("q8_0", "off", ["cache_type_v"]),
        ("q8_0", False, ["cache_type_v"]),
        ("q8_0", "auto", []),
        ("q8_0", "on", []),
        ("bf16", "off", []),
    ],
)
def test_a_quantized_v_cache_needs_flash_attention(
    cache_type: str, flash_attn: object, places: list[str]
) -> None:
    found = problems(cache_type_v=cache_type, flash_attn=flash_attn)

    assert [place for place, _ in found] == places


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(FIELDS)) | st.text(max_size=9), JSON))
def test_whatever_is_given_is_taken_or_told_and_what_is_taken_is_taken_again(
    values: dict[str, Any],
) -> None:
    cleaned, found = check(values)

    assert check(cleaned) == (cleaned, [])
    assert bool(found) == (cleaned.keys() != values.keys())


def test_the_page_of_the_settings_has_every_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "run-settings.md"

    of_the_fields, _, _ = page.read_text().partition("## Builds")
    named = re.findall(r"^\| `(\w+)` \|", of_the_fields, re.MULTILINE)

    assert named == list(FIELDS)
