"""Headers that were cut, bent and made up: our errors only, and little memory."""

import contextlib
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_app import gguf, gguf_window
from models_app.errors import GGUFError, NotGGUFError, TruncatedGGUFError
from models_app.gguf import read_gguf
from models_app.gguf_info import GGUFInfo
from tests.models_app import ggufs
from tests.models_app.ggufs import TEXT_MODEL, Typed, gguf_bytes, write_gguf

MIB = 1024 * 1024
MOST_MEMORY = 4 * MIB

_FUZZED: dict[str, Any] = {
    "general.architecture": "llama",
    "general.tags": ["a", "b"],
    "general.file_type": 15,
    "llama.rope.freq_base": 1e6,
    "llama.attention.head_count_kv": [2, 8],
    "tokenizer.ggml.tokens": [f"t{n}" for n in range(gguf.MIN_JUMP)],
    "tokenizer.ggml.token_type": [Typed(ggufs.I32, 1)] * gguf.MIN_JUMP,
    "tokenizer.ggml.merges": ["a b"] * gguf.MIN_JUMP,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{% if tools %}",
}
_HEADERS = [
    gguf_bytes(_FUZZED, version=version, order=order)
    for version in gguf.SUPPORTED_VERSIONS
    for order in "<>"
]
# What a length, a count or a type is not expected to be, in eight bytes of either order.
_BAD_NUMBERS = [0, 1, 7, 8, 9, 13, 255, 2**16, 2**31, 2**32, 2**62, 2**63, 2**64 - 1]
_PATCHES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.builds(
        int.to_bytes,
        st.sampled_from(_BAD_NUMBERS),
        st.just(8),
        st.sampled_from(["little", "big"]),
    ),
)
_FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw + bytes(512))
    return path


def read_within_bounds(path: Path) -> GGUFInfo | None:
    """Read a file that may be bad; any other error than ours fails the test."""
    info = None
    tracemalloc.start()
    with contextlib.suppress(GGUFError):
        info = read_gguf(path)
        for name in dir(info):  # no property raises either
            getattr(info, name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY
    return info


@_FUZZ
@given(
    header=st.sampled_from(_HEADERS),
    edits=st.lists(st.tuples(st.floats(0, 1), _PATCHES), min_size=1, max_size=6),
    cut=st.floats(0, 1),
)
def test_a_bent_header_raises_nothing_but_our_errors(
    tmp_path: Path, header: bytes, edits: list[tuple[float, bytes]], cut: float
) -> None:
    raw = bytearray(header)
    for place, patch in edits:
        position = int(place * (len(raw) - 1))
        raw[position : position + len(patch)] = patch

    read_within_bounds(write(tmp_path / "m.gguf", bytes(raw)))
    read_within_bounds(write(tmp_path / "m.gguf", bytes(raw[: int(cut * len(raw))])))


@_FUZZ
@given(
    kinds=st.lists(st.integers(0, 13), max_size=8),
    numbers=st.lists(st.one_of(st.integers(0, 40), st.sampled_from(_BAD_NUMBERS)), max_size=40),
    counts=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    order=st.sampled_from("<>"),
)
def test_a_header_that_was_made_up_raises_nothing_but_our_errors(
    tmp_path: Path, kinds: list[int], numbers: list[int], counts: tuple[int, int], order: str
) -> None:
    raw = struct.pack(f"{order}4sIQQ", b"GGUF", 3, *counts)
    for index, kind in enumerate(kinds):
        raw += struct.pack(f"{order}Q1sI", 1, b"%d" % index, kind)
        raw += struct.pack(f"{order}{len(numbers)}Q", *numbers)

    read_within_bounds(write(tmp_path / "m.gguf", raw))


@pytest.mark.parametrize("depth", [1, 2, 1000])
def test_nested_arrays_are_refused(tmp_path: Path, depth: int) -> None:
    nested: list[Any] = [1]
    for _ in range(depth):
        nested = [Typed(ggufs.ARRAY, nested)]

    path = write_gguf(tmp_path / "m.gguf", {"k": nested} if depth < 100 else {"k": [1]})
    raw = path.read_bytes()
    if depth >= 100:  # deeper than Python's own limit
        array = struct.pack("<IIQ", 9, 9, 1)
        raw = struct.pack("<4sIQQQ1s", b"GGUF", 3, 0, 1, 1, b"k") + array * depth
        path.write_bytes(raw)

    with pytest.raises(GGUFError, match="value type 9"):
        read_gguf(path)


@pytest.mark.parametrize("header", _HEADERS)
def test_a_header_cut_anywhere_is_noticed(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "m.gguf"

    for size in range(0, len(header), 7):
        path.write_bytes(header[:size])
        with pytest.raises((NotGGUFError, TruncatedGGUFError)):
            read_gguf(path)


def test_a_hole_of_a_terabyte_is_not_searched(tmp_path: Path) -> None:
    strings = struct.pack("<IIQ", 9, 8, gguf_window.MAX_ARRAY_STRINGS // 10)
    key = b"tokenizer.ggml.tokens"
    raw = struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, len(key)) + key + strings
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    with path.open("r+b") as file:
        file.truncate(2**40)

    assert read_within_bounds(path) is not None


_NASTY = st.one_of(
    st.text(max_size=12),
    st.sampled_from([
        "tokenizer.ggml.merges", "tokenizer.ggml.token_type", "tokenizer.", "x" * 300, "",
        "four", "\0" * 16, "\0\0\0\0\0\0\0tokenizer.",
        "\x15" + "\0" * 7 + "tokenizer.ggml.merges\x04\0\0\0\x01\0\0\0",
    ]),
)  # fmt: skip


_BEHIND = [
    "tokenizer.ggml.merges",
    "general.name",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.token_type",
]


@_FUZZ
@given(
    words=st.lists(_NASTY, min_size=1, max_size=20),
    behind=st.permutations(
        [
            "tokenizer.ggml.merges",
            "general.name",
            "tokenizer.ggml.pre",
            "tokenizer.ggml.token_type",
        ]
    ).flatmap(lambda keys: st.integers(1, 4).map(lambda count: keys[:count])),
    order=st.sampled_from("<>"),
)
def test_a_jump_ends_where_stepping_does(
    tmp_path: Path, words: list[str], behind: list[str], order: str
) -> None:
    tokens = (words * gguf.MIN_JUMP)[: gguf.MIN_JUMP + len(words)]
    types = [Typed(ggufs.I32, 1)] * len(tokens)
    values = {"tokenizer.ggml.merges": tokens[::-1], "tokenizer.ggml.token_type": types}
    metadata = {"tokenizer.ggml.tokens": tokens} | {key: values.get(key, "x") for key in behind}
    path = write_gguf(tmp_path / "m.gguf", metadata, order=order)

    assert read_gguf(path) == read_gguf(path, is_thorough=True)


def test_a_long_tokenizer_is_jumped_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [f"token number {n}" for n in range(60_000)]  # more than a window
    metadata = TEXT_MODEL | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": tokens,
        "tokenizer.ggml.eos_token_id": 2,
        "general.file_type": 15,
    }
    path = write_gguf(tmp_path / "m.gguf", metadata)
    stepped = read_gguf(path, is_thorough=True)
    monkeypatch.setattr(gguf_window.HeaderWindow, "skip_strings", _must_not_step)

    info = read_gguf(path)

    assert info == stepped
    assert info.metadata["general.file_type"] == 15


def _must_not_step(*_: object) -> None:
    raise AssertionError
