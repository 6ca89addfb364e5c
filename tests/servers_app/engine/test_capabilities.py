"""What is read out of what a llama-server prints about itself."""

import pytest

from servers_app.engine.capabilities import (
    MAX_FLAGS,
    Capabilities,
    Device,
    Version,
    parse_devices,
    parse_help,
    parse_version,
)
from tests.servers_app.engine import old_build


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param(
            "version: 8951 (abc1234)\nbuilt with cc",
            Version("8951 (abc1234)", 8951, "abc1234"),
            id="until b10362",
        ),
        pytest.param(
            "version: 0.6.0-dev (build 11434, commit abc1234)\n",
            Version("0.6.0-dev (build 11434, commit abc1234)", 11434, "abc1234"),
            id="since b10405",
        ),
        pytest.param(
            "ggml_cuda_init: found 1 device\nversion: 0.6.0-dev (build 0, commit unknown)",
            Version("0.6.0-dev (build 0, commit unknown)", None, ""),
            id="of a distribution",
        ),
        pytest.param("ls (GNU coreutils) 9.1", Version(), id="of something else"),
        pytest.param("version: 99999999999999999999 (abc)", Version(), id="no number of ours"),
        pytest.param("version: \0 (build 7, commit x)", Version(), id="a NUL in it"),
    ],
)
def test_a_version_is_read_in_both_forms(text: str, version: Version) -> None:
    assert parse_version(text) == version


def test_every_flag_of_an_old_build_is_read_with_as_many_values_as_it_takes(
    b6000: Capabilities,
) -> None:
    by_count = {
        count: {flag for flag in b6000.flags if b6000.values_of(flag) == count}
        for count in range(4)
    }

    assert by_count == {0: old_build.SWITCHES, 1: old_build.ONE, 2: old_build.TWO, 3: set()}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("-fa", "[on|off|auto]"),
        ("--flash-attn", "[on|off|auto]"),
        ("--load-mode", "MODE"),
        ("--n-gpu-layers", "N|auto|all"),
        ("--no-kv-offload", ""),  # the line has no room for a text
        ("--no-kv-unified", ""),
        ("--spec-draft-n-max", "N"),
        ("--lora-scaled", "FNAME:SCALE,..."),
        ("-ot", "<tensor name pattern>=<buffer type>,..."),
        ("--cors-origins", "ORIGINS|localhost"),
        ("--fim-qwen-1.5b-default", ""),
        ("--sleep-idle-seconds", "SECONDS"),
    ],
)
def test_flags_of_build_11434_are_read_from_its_help(
    b11434: Capabilities, flag: str, value: str
) -> None:
    assert b11434.flags[flag] == value


@pytest.mark.parametrize(
    "flag",
    [
        pytest.param("--draft-max", id="listed as removed"),
        pytest.param("--draft-n-min", id="listed as removed, another name"),
        pytest.param("--no-mmap", id="gone"),
        pytest.param("--logit-bias=", id="no flag"),
    ],
)
def test_what_ends_build_11434_is_no_flag_of_it(b11434: Capabilities, flag: str) -> None:
    assert flag not in b11434.flags


def test_a_text_that_breaks_before_a_flag_lists_no_flag() -> None:
    help_text = (
        "-hf,   --hf-repo <user>/<model>[:quant]\n" + " " * 40 + "to disable, add\n"
        "                                        --no-mmproj\n"
    )

    assert set(parse_help(help_text)) == {"-hf", "--hf-repo"}


def test_the_indented_help_of_2024_is_read() -> None:
    help_text = (
        "usage: ./llama-server [options]\n\ngeneral:\n\n"
        "  -h,    --help, --usage          print usage and exit\n"
        "         --keep N                 number of tokens to keep\n"
        "  -fa,   --flash-attn             enable Flash Attention (default: disabled)\n"
        "                                  --keep is another matter\n"
    )

    switches = ("-h", "--help", "--usage", "-fa", "--flash-attn")
    assert parse_help(help_text) == {**dict.fromkeys(switches, ""), "--keep": "N"}


def test_words_are_told_apart_from_parts_of_words(b11434: Capabilities) -> None:
    assert b11434.takes_word("--n-gpu-layers", "all")
    assert b11434.takes_word("--spec-type", "draft-simple")
    assert not b11434.takes_word("--spec-type", "draft")
    assert not b11434.takes_word("--no-such-flag", "all")


def test_devices_are_read_with_their_memory() -> None:
    text = (
        "Available devices:\n"
        "  CUDA0: NVIDIA GeForce RTX 3080 (16379 MiB, 14900 MiB free)\n"
        "  Vulkan0: AMD Radeon (RADV NAVI31) (24560 MiB, 24000 MiB free)\n"
        "  (none)\n"
    )

    assert parse_devices(text) == [
        Device("CUDA0", "NVIDIA GeForce RTX 3080", 16379, 14900),
        Device("Vulkan0", "AMD Radeon (RADV NAVI31)", 24560, 24000),
    ]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("--a" + "-" * 900, id="a long name"),
        pytest.param("-a, " * 240, id="many names"),
        pytest.param("--a " + "x " * 490 + "\0", id="many words"),
        pytest.param("--abc N" + " " * 900 + "\0", id="spaces"),
        pytest.param("--\ufffd\ufffd N    x", id="no text"),
    ],
)
def test_a_hostile_help_is_read_to_its_end(line: str) -> None:
    flags = parse_help(f"{line}\n" * (2**20 // len(line)) + "--last N   one\n")

    assert flags["--last"] == "N"


def test_of_a_help_without_end_so_much_is_kept_and_no_more() -> None:
    flags = parse_help("".join(f"--flag-{number}   x\n" for number in range(10_000)))

    assert len(flags) == MAX_FLAGS


def test_what_a_help_lists_can_be_kept_in_a_database() -> None:
    flags = parse_help("--a \0\x01   text\n--b \ud800   text\n--c N   'w\0rd'\n")

    assert flags == {"--c": "N"}


@pytest.mark.parametrize(
    ("build", "is_unsafe"), [(8145, True), (8146, False), (11434, False), (None, False)]
)
def test_builds_that_a_file_can_break_are_warned_of(build: int | None, is_unsafe: bool) -> None:
    warning = Capabilities("/x", Version("", build), {}).warning

    assert ("CVE-2026-27940" in warning) is is_unsafe
