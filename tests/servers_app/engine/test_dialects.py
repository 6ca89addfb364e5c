"""One setting, spelled for each build."""

from typing import Any

import pytest

from profiles_app.runsettings import FIELDS
from servers_app.engine.capabilities import Capabilities, Version, parse_help
from servers_app.engine.dialect import Part, always, spell
from servers_app.engine.unknown import unknown_settings

A, B, D = "/a.gguf", "/b.gguf", "/d.gguf"
ADAPTERS = [A, {"path": B, "scale": 0.5}]

# What somebody says, and what b6000 and b11434 are given for it.
SPELLINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"ctx_size": 0, "n_gpu_layers": 0}, *("--ctx-size 0 --n-gpu-layers 0",) * 2),
    ({"n_gpu_layers": "auto"}, "", ""),
    ({"n_gpu_layers": "all"}, "--n-gpu-layers 999", "--n-gpu-layers all"),
    ({"threads": 4, "threads_batch": 6}, *("--threads 4 --threads-batch 6",) * 2),
    ({"flash_attn": "on"}, "--flash-attn", "--flash-attn on"),
    ({"flash_attn": "off"}, "", "--flash-attn off"),
    ({"flash_attn": "auto"}, "", ""),
    ({"load_mode": "auto"}, "", ""),
    ({"load_mode": "none"}, "--no-mmap", "--load-mode none"),
    ({"load_mode": "mmap"}, "", "--load-mode mmap"),
    ({"load_mode": "mlock"}, "--no-mmap --mlock", "--load-mode mlock"),
    ({"load_mode": "mmap+mlock"}, "--mlock", "--load-mode mmap+mlock"),
    ({"kv_unified": False}, "", ""),
    ({"jinja": "on"}, "--jinja", "--jinja"),
    ({"jinja": "off"}, "", "--no-jinja"),
    ({"jinja": "auto"}, "", ""),
    ({"mmproj": "/mmproj.gguf"}, *("--mmproj /mmproj.gguf",) * 2),
    ({"mmproj": "none"}, "", ""),
    ({"cache_type_k": "q8_0", "cache_type_v": None}, *("--cache-type-k q8_0",) * 2),
    ({"lora": []}, "", ""),
    ({"lora": [A, B]}, f"--lora {A} --lora {B}", f"--lora {A},{B}"),
    (
        {"lora": ADAPTERS},
        f"--lora-scaled {A} 1.0 --lora-scaled {B} 0.5",
        f"--lora-scaled {A}:1.0,{B}:0.5",
    ),
    ({"model_draft": D}, f"--model-draft {D}", f"--model-draft {D} --spec-type draft-simple"),
    (
        {"extra_args": ["--draft-max", "8", "--draft-min", "1"]},
        "--draft-max 8 --draft-min 1",
        "--spec-draft-n-max 8 --spec-draft-n-min 1",
    ),
    (
        {"extra_args": ["--spec-draft-n-max", "8", "--spec_draft_p_min", "0.5"]},
        "--draft-max 8 --draft-p-min 0.5",
        "--spec-draft-n-max 8 --spec_draft_p_min 0.5",
    ),
    ({"extra_args": ["--temp", "-1", "--swa-full"]}, *("--temp -1 --swa-full",) * 2),
    ({"extra_args": ["--no-ui"]}, "--no-webui", "--no-ui"),
]


def line(known: Capabilities, values: dict[str, Any]) -> str:
    """Return what a build is given for `values`, and nothing else."""
    unset: dict[str, list[str]] = {"lora": [], "extra_args": []}
    resolved = {name: values.get(name, unset.get(name)) for name in FIELDS}
    parts = [part for _, part in spell(known, resolved)]
    return " ".join(item for part in parts for item in part[:2] if item is not None)


@pytest.mark.parametrize(("values", "old", "new"), SPELLINGS)
def test_a_setting_is_spelled_as_the_build_has_it(
    b6000: Capabilities, b11434: Capabilities, values: dict[str, Any], old: str, new: str
) -> None:
    assert (line(b6000, values), line(b11434, values)) == (old, new)


@pytest.mark.parametrize(("values", "old", "new"), SPELLINGS)
def test_what_has_a_spelling_may_be_saved(
    b6000: Capabilities, b11434: Capabilities, values: dict[str, Any], old: str, new: str
) -> None:
    assert not list(unknown_settings(b6000, values))
    assert not list(unknown_settings(b11434, values))


def test_what_was_translated_is_told(b6000: Capabilities, b11434: Capabilities) -> None:
    values = dict.fromkeys(FIELDS) | {"lora": [], "load_mode": "none", "extra_args": []}
    drafting = values | {"load_mode": None, "extra_args": ["--draft", "4"]}

    assert list(spell(b6000, values)) == [
        ("load_mode", Part("--no-mmap", None, "none: this build says --no-mmap"))
    ]
    assert list(spell(b11434, drafting)) == [
        (
            "extra_args",
            Part("--spec-draft-n-max", "4", "--draft: this build says --spec-draft-n-max"),
        )
    ]


def test_a_draft_type_of_a_persons_own_stays(b11434: Capabilities) -> None:
    values = {"model_draft": D, "extra_args": ["--spec_type", "draft-mtp"]}

    assert line(b11434, values) == f"--model-draft {D} --spec_type draft-mtp"


def test_checkpoints_are_spelled_both_ways(b11434: Capabilities) -> None:
    spring = Capabilities("/x", Version(), {"--checkpoint-every-n-tokens": "N"})

    assert line(b11434, {"extra_args": ["-cpent", "64"]}) == "--checkpoint-min-step 64"
    assert line(spring, {"extra_args": ["-cms", "64"]}) == "--checkpoint-every-n-tokens 64"


def test_direct_io_is_asked_for_where_there_is_a_flag_for_it(b6000: Capabilities) -> None:
    winter = Capabilities("/x", Version(), {**b6000.flags, "--direct-io": ""})

    assert line(winter, {"load_mode": "dio"}) == "--direct-io"
    assert line(b6000, {"load_mode": "dio"}) == ""


def test_every_server_can_be_watched_and_by_nobody_else(
    b6000: Capabilities, b11434: Capabilities, embedded: Capabilities
) -> None:
    assert list(always(b6000)) == [Part("--slots"), Part("--metrics"), Part("--no-webui")]
    now = [
        *(Part("--slots"), Part("--metrics"), Part("--no-ui")),
        Part("--cors-origins", "localhost"),
    ]
    assert list(always(b11434)) == now
    assert list(always(embedded)) == now


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param(
            {"kv_unified": True},
            (
                "kv_unified",
                "this llama-server (build 6000) has no --kv-unified. "
                "Take it off, or choose another engine.",
            ),
            id="a setting",
        ),
        pytest.param(
            {"load_mode": "dio"},
            (
                "load_mode",
                "this llama-server (build 6000) has no --load-mode, and no older flag for dio. "
                "Take it off, or choose another engine.",
            ),
            id="a word of a setting",
        ),
        pytest.param(
            {"extra_args": ["--temp", "1", "--sleep-idle-seconds", "60"]},
            (
                "extra_args[2]",
                "this llama-server (build 6000) has no --sleep-idle-seconds. "
                "Take it off, or choose another engine.",
            ),
            id="a flag",
        ),
        pytest.param(
            {"extra_args": ["--cache-reus", "60"]},
            (
                "extra_args[0]",
                "this llama-server (build 6000) has no --cache-reus; did you mean "
                "--cache-reuse? Take it off, or choose another engine.",
            ),
            id="a typing error",
        ),
        pytest.param(
            {"extra_args": ["--swa-full", "--temp"]},
            ("extra_args[1]", "this llama-server (build 6000) takes --temp with a value: N."),
            id="no value",
        ),
        pytest.param(
            {"extra_args": ["--temp", "--swa-full"]},
            ("extra_args[0]", "this llama-server (build 6000) takes --temp with a value: N."),
            id="a flag for a value",
        ),
        pytest.param(
            {"extra_args": ["--swa-full", "on"]},
            (
                "extra_args[1]",
                "this llama-server (build 6000) takes no value after --swa-full. "
                "Take off 'on'.",
            ),
            id="a value too many",
        ),
    ],
)
def test_what_a_build_does_not_know_is_named(
    b6000: Capabilities, values: dict[str, Any], problem: tuple[str, str]
) -> None:
    assert list(unknown_settings(b6000, {"threads": 1, **values})) == [problem]


def test_what_a_help_lists_as_removed_is_unknown(b11434: Capabilities) -> None:
    values = {"extra_args": ["--spec-ngram-size-n", "12"]}

    ((place, sentence),) = unknown_settings(b11434, values)

    assert place == "extra_args[0]"
    assert "has no --spec-ngram-size-n; did you mean" in sentence


def test_each_base_value_of_ours_is_known_to_every_build(
    b6000: Capabilities, b11434: Capabilities, embedded: Capabilities
) -> None:
    base = {name: field.base for name, field in FIELDS.items()}

    for known in (b6000, b11434, embedded):
        assert not list(unknown_settings(known, base))


@pytest.mark.parametrize(
    ("known", "who"),
    [
        (Capabilities("/x", Version("1.0"), {}), "this llama-server"),
        (Capabilities("/x", Version("", 7), {}), "this llama-server (build 7)"),
        (Capabilities("embedded", Version("", 7), {}), "the embedded engine (build 7)"),
    ],
)
def test_messages_say_which_build_is_meant(known: Capabilities, who: str) -> None:
    assert str(known) == who


def test_a_build_that_prints_no_number_is_spelled_for_by_its_help() -> None:
    flags = parse_help("-fa,   --flash-attn [on|off|auto]       set Flash Attention use\n")

    assert line(Capabilities("/x", Version(), flags), {"flash_attn": "on"}) == "--flash-attn on"
