import contextlib
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_app import gguf
from models_app.errors import (
    GGUFError,
    MalformedGGUFError,
    NotGGUFError,
    TruncatedGGUFError,
    UnsupportedGGUFError,
)
from models_app.gguf import read_gguf
from tests.models_app import ggufs
from tests.models_app.ggufs import TEXT_MODEL, Tensor, Typed, gguf_bytes, write_gguf


@pytest.mark.parametrize(
    ("version", "order"),
    [
        pytest.param(2, "<", id="version 2, little endian"),
        pytest.param(3, "<", id="version 3, little endian"),
        pytest.param(2, ">", id="version 2, big endian"),
        pytest.param(3, ">", id="version 3, big endian"),
    ],
)
def test_reads_both_versions_in_both_byte_orders(
    tmp_path: Path, version: int, order: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", version=version, order=order)

    info = read_gguf(path)

    assert (info.version, info.is_big_endian) == (version, order == ">")
    assert (info.architecture, info.context_length) == ("llama", 4096)
    assert (info.parameter_count, info.data_end) == (128, info.file_size)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(ggufs.U8, 255, id="uint8"),
        pytest.param(ggufs.I8, -128, id="int8"),
        pytest.param(ggufs.U16, 65_535, id="uint16"),
        pytest.param(ggufs.I16, -32_768, id="int16"),
        pytest.param(ggufs.U32, 2**32 - 1, id="uint32"),
        pytest.param(ggufs.I32, -(2**31), id="int32"),
        pytest.param(ggufs.F32, 0.5, id="float32"),
        pytest.param(ggufs.BOOL, True, id="bool"),
        pytest.param(ggufs.STRING, "grüße", id="string"),
        pytest.param(ggufs.U64, 2**64 - 1, id="uint64"),
        pytest.param(ggufs.I64, -(2**63), id="int64"),
        pytest.param(ggufs.F64, 0.1, id="float64"),
    ],
)
def test_reads_every_value_type_alone_and_in_an_array(
    tmp_path: Path, kind: int, value: Any
) -> None:
    metadata = {"one": Typed(kind, value), "two": [Typed(kind, value)] * 2}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert info.metadata == {"one": value, "two": [value, value]}


def test_leaves_out_floats_that_json_does_not_have(tmp_path: Path) -> None:
    metadata = {"nan": float("nan"), "list": [1.0, float("inf")]}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert info.metadata == {"list": [1.0]}


def test_steps_over_long_arrays_and_those_of_the_tokenizer(tmp_path: Path) -> None:
    metadata = {
        "tokenizer.ggml.tokens": ["x" * 40] * 100_000,
        "tokenizer.ggml.scores": [0.5] * 1000,
        "general.tags": ["text-generation"],
        "llama.big": [1] * (gguf.MAX_NUMBERS + 1),
        "general.name": "behind a long tokenizer",
    }

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert info.metadata == {
        "general.tags": ["text-generation"],
        "general.name": "behind a long tokenizer",
    }
    assert info.array_lengths["tokenizer.ggml.tokens"] == 100_000


def test_cuts_long_strings_and_drops_what_a_database_cannot_hold(tmp_path: Path) -> None:
    metadata = {"a": "x" * (gguf.MAX_STRING_BYTES + 1), "b": "a\0b", "c": b"\xff", "d": 7}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert len(str(info.metadata["a"])) == gguf.MAX_STRING_BYTES
    assert (info.metadata["b"], info.metadata["c"], info.metadata["d"]) == ("ab", "\ufffd", 7)


def test_a_tensor_type_that_is_too_new_is_counted(tmp_path: Path) -> None:
    tensors = [Tensor("a", (64, 2), type_id=999)]

    info = read_gguf(write_gguf(tmp_path / "m.gguf", tensors=tensors))

    assert info.tensor_types == {"type 999": 128}


def test_fourteen_billion_weights_cost_a_header(tmp_path: Path) -> None:
    tensors = [Tensor(f"blk.{n}.w", (50_000, 28_000), "Q4_0") for n in range(10)]

    info = read_gguf(write_gguf(tmp_path / "m.gguf", tensors=tensors))

    assert info.parameter_count == 14_000_000_000
    assert info.data_end == info.file_size > 7_800_000_000


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        pytest.param(b"", NotGGUFError, "zero bytes", id="empty"),
        pytest.param(b"GG", NotGGUFError, "not a GGUF file", id="two bytes"),
        pytest.param(b"PK\x03\x04" + bytes(20), NotGGUFError, "not a GGUF file", id="zip"),
        pytest.param(b"version https://git-lfs", NotGGUFError, "not a GGUF file", id="lfs"),
        pytest.param(b"GGUF\x03\x00", TruncatedGGUFError, "truncated: ", id="half a version"),
        pytest.param(gguf_bytes()[:90], TruncatedGGUFError, "truncated: ", id="half a header"),
        pytest.param(
            gguf_bytes(version=7),
            UnsupportedGGUFError,
            "unsupported GGUF version 7",
            id="version 7",
        ),
        pytest.param(
            gguf_bytes(version=1, order=">"),
            UnsupportedGGUFError,
            "unsupported GGUF version 1",
            id="version 1, big endian",
        ),
        pytest.param(
            gguf_bytes(version=0), UnsupportedGGUFError, "unsupported GGUF version 0", id="0"
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"k", 13),
            UnsupportedGGUFError,
            "unsupported GGUF value type 13 of 'k'",
            id="value type 13",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 9, 1) + bytes(64),
            UnsupportedGGUFError,
            "unsupported GGUF value type 9 of 'k'",
            id="array of arrays",
        ),
        pytest.param(
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60),
            MalformedGGUFError,
            "malformed: 1,152,921,504,606,846,976 metadata pairs",
            id="metadata count",
        ),
        pytest.param(
            struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0),
            MalformedGGUFError,
            "malformed: 1,152,921,504,606,846,976 tensors",
            id="tensor count",
        ),
        pytest.param(
            struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**63),
            MalformedGGUFError,
            "malformed: a metadata key of",
            id="key length",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sIQ", b"GGUF", 3, 0, 1, 1, b"k", 8, 2**63),
            TruncatedGGUFError,
            "truncated: ",
            id="string length",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 4, 2**62),
            TruncatedGGUFError,
            "truncated: ",
            id="number array length",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 8, 2**62),
            MalformedGGUFError,
            "malformed: an array of",
            id="string array length",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sIIQQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 8, 100, 2**64 - 1),
            TruncatedGGUFError,
            "truncated: ",
            id="length of a string in an array",
        ),
        pytest.param(
            struct.pack("<4sIQQQ", b"GGUF", 3, 1, 0, 2**40),
            MalformedGGUFError,
            "malformed: a tensor name of",
            id="tensor name",
        ),
        pytest.param(
            struct.pack("<4sIQQQ1sI", b"GGUF", 3, 1, 0, 1, b"t", 2**31),
            MalformedGGUFError,
            "malformed: a tensor of 2,147,483,648 dimensions",
            id="dimensions",
        ),
        pytest.param(
            gguf_bytes({}, [Tensor("t", (2**63, 2**63, 2**63, 2**63), type_id=999)]),
            MalformedGGUFError,
            "malformed: more than 2^63 parameters",
            id="parameters",
        ),
        pytest.param(
            gguf_bytes({"general.alignment": 33}),
            MalformedGGUFError,
            "malformed: an alignment of 33",
            id="alignment",
        ),
    ],
)
def test_refuses_with_a_reason(
    tmp_path: Path, content: bytes, error: type[GGUFError], reason: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)

    with pytest.raises(error, match=r"bad\.gguf") as caught:
        read_gguf(path)

    assert caught.value.reason.startswith(reason)


def test_refuses_a_key_that_is_there_twice(tmp_path: Path) -> None:
    raw = gguf_bytes({"aa": 1, "ab": 2}, [])
    path = tmp_path / "m.gguf"
    path.write_bytes(raw.replace(b"ab", b"aa"))

    with pytest.raises(MalformedGGUFError, match="'aa' twice"):
        read_gguf(path)


def test_a_file_one_byte_short_of_its_tensors_is_truncated(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    size = path.stat().st_size
    os.truncate(path, size - 1)

    with pytest.raises(TruncatedGGUFError) as caught:
        read_gguf(path)

    assert caught.value.reason == f"truncated: {size - 1:,} bytes of {size:,}"


def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    raw = write_gguf(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "cut.gguf"

    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        with pytest.raises((NotGGUFError, TruncatedGGUFError)):
            read_gguf(path)


def test_a_hostile_header_costs_a_few_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQQ1sIQ", b"GGUF", 3, 0, 4096, 1, b"k", 8, 2**31))
    os.truncate(path, 2**40)  # a hole: the lengths are all within the file

    tracemalloc.start()
    with pytest.raises(GGUFError):
        read_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 * 1024 * 1024


def test_a_thousand_long_strings_are_not_all_kept(tmp_path: Path) -> None:
    metadata = {f"key.{n}": "x" * gguf.MAX_STRING_BYTES for n in range(64)}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert sum(len(str(value)) for value in info.metadata.values()) <= gguf.MAX_KEPT_BYTES


def test_a_thousand_short_arrays_are_not_all_kept(tmp_path: Path) -> None:
    metadata = {f"key.{n}": [Typed(ggufs.U8, 1)] * gguf.MAX_NUMBERS for n in range(1000)}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert len(info.array_lengths) == 1000
    assert len(info.metadata) < 100


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path / "gone.gguf")


_VALID = gguf_bytes(TEXT_MODEL | {"general.tags": ["a", "b"], "general.file_type": 15})


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(_VALID) - 1), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=6,
    ),
    is_big_endian=st.booleans(),
)
def test_a_mutated_header_raises_nothing_but_our_errors(
    tmp_path: Path, edits: list[tuple[int, bytes]], is_big_endian: bool
) -> None:
    raw = bytearray(gguf_bytes(order=">") if is_big_endian else _VALID)
    for position, patch in edits:
        raw[position : position + len(patch)] = patch
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(raw) + bytes(512))

    with contextlib.suppress(GGUFError):
        info = read_gguf(path)
        for name in dir(info):  # no property raises either
            getattr(info, name)
