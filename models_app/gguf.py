"""Read the header of a GGUF file: its metadata and its tensor table, never its tensors.

Source: "File Structure", https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Files come from strangers. Every length and count is held against a limit and the size
of the file before anything is allocated, so a hostile header costs no more than a real one.
"""

import math
import os
import struct
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models_app.errors import (
    GGUFError,
    MalformedGGUFError,
    NotGGUFError,
    TruncatedGGUFError,
    UnsupportedGGUFError,
)
from models_app.ggml_types import GGML_TYPES
from models_app.gguf_info import GGUFInfo, Scalar, Value
from models_app.gguf_window import FIRST_BYTES, HeaderWindow, will_need

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)  # version 1 has 32-bit lengths

MAX_METADATA = 4096  # pairs; SmolLM2 has 33
MAX_TENSORS = 16_384  # SmolLM2 has 272
MAX_DIMS = 4  # GGML_MAX_DIMS
MAX_KEY_BYTES = 1024
MAX_TENSOR_NAME_BYTES = 256
MAX_PAIR_BYTES = 8 + MAX_KEY_BYTES + 4  # without its value
# A record of the tensor table, and the length that begins the next one.
MAX_TENSOR_BYTES = 8 + MAX_TENSOR_NAME_BYTES + 4 + MAX_DIMS * 8 + 12 + 8
MAX_STRING_BYTES = 64 * 1024  # of one string; the rest of it is cut off
_SHARED_BYTES = 512
MAX_KEPT_BYTES = 1024 * 1024  # of strings and arrays; those that come after are left out
_ITEM_BYTES = 32  # what a value in a list costs Python, about
MAX_NUMBERS = 512  # per-layer arrays are kept, tokenizer arrays are not
MAX_STRINGS = 64
MAX_COUNT = 2**63 - 1

# Where the time goes in a tokenizer. Two keys, each of them once: so few searches at most.
JUMPED_KEYS = frozenset({"tokenizer.ggml.tokens", "tokenizer.ggml.merges"})
TOKEN_KEYS = frozenset(f"tokenizer.ggml.{key}" for key in ("tokens", "token_type", "scores"))
MIN_JUMP = 64  # strings

_BLOCKS = {id_: (kind.block_elements, kind.block_bytes) for id_, kind in GGML_TYPES.items()}
_UNKNOWN_BLOCK = (1, 0)  # of a type newer than the table
_STRING = 8
_ARRAY = 9
_SCALAR_SHAPES = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


@dataclass(frozen=True, slots=True)
class _Shapes:
    """The records of the format, in one byte order."""

    counts: struct.Struct  # tensor_count, metadata_kv_count
    u32: struct.Struct
    u64: struct.Struct
    array: struct.Struct  # value type, length
    scalars: dict[int, struct.Struct]
    # by number of dimensions: their number, dimensions, type, offset; the next name's length
    tensors: list[struct.Struct]

    @classmethod
    def of(cls, order: str) -> "_Shapes":
        return cls(
            counts=struct.Struct(f"{order}QQ"),
            u32=struct.Struct(f"{order}I"),
            u64=struct.Struct(f"{order}Q"),
            array=struct.Struct(f"{order}IQ"),
            scalars={k: struct.Struct(order + v) for k, v in _SCALAR_SHAPES.items()},
            tensors=[struct.Struct(f"{order}I{n}QIQQ") for n in range(MAX_DIMS + 1)],
        )


_LITTLE = _Shapes.of("<")
_BIG = _Shapes.of(">")


def read_gguf(path: Path, *, is_thorough: bool = False) -> GGUFInfo:
    """Read what a GGUF file says about itself.

    One read of 64 KiB is enough for a header without its tokenizer. What a tokenizer
    costs is 1 ms, of SmolLM2 (49,152 tokens; gguf.GGUFReader: 2 s) as of 150,000 tokens and
    as many merges (6 s; 32 ms when they were stepped over). What the tensors weigh does
    not matter.

    Strings have no index: to get behind 150,000 tokens, each one's length has to be read,
    and Python takes 80 ns for that. So the bytes of the next key are searched for, at the
    speed of memory. A find is a guess, and is held against the strings in front of it;
    a reading that rests on guesses counts only if all of it comes out: each key once,
    every pair and tensor that was announced, as many token types as tokens. If not, and
    for files of the other byte order, the strings are stepped over one by one. So nothing
    is refused on a guess. What a guess does not see is damage within the strings; stepping
    does, as does the hash of the file.

    Args:
        is_thorough: step over every string. 30 times slower.

    Raises:
        NotGGUFError: the magic bytes are wrong, or there are none.
        TruncatedGGUFError: the file ends before its header or its tensors do.
        UnsupportedGGUFError: not version 2 or 3, or a value type we do not know.
        MalformedGGUFError: the header cannot be true.
        OSError: the file cannot be opened or read.
    """
    # O_NONBLOCK: a pipe that is named like a model must not hang the scan.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead into tensors
        size = os.fstat(file).st_size
        if not is_thorough:
            parser = _HeaderParser(path, file, size)
            try:
                info = parser.parse()
            except GGUFError:
                if not parser.window.has_jumped:
                    raise
            else:
                if parser.is_certain():
                    return info
        return _HeaderParser(path, file, size, may_jump=False).parse()
    finally:
        os.close(file)


def fetch_header(path: Path) -> None:
    """Have the kernel fetch the beginning of a file that will be read soon."""
    with suppress(OSError):  # which the reader then meets as well, and tells
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            will_need(file, 0, FIRST_BYTES)
        finally:
            os.close(file)


class _HeaderParser:
    def __init__(self, path: Path, file: int, file_size: int, *, may_jump: bool = True) -> None:
        self.path = path
        self.may_jump = may_jump
        self.file_size = file_size
        self.window = HeaderWindow(path, file, file_size)
        self.shapes = _LITTLE
        self.metadata: dict[str, Value] = {}
        self.array_lengths: dict[str, int] = {}
        self.tensor_elements: dict[int, int] = defaultdict(int)  # by type
        self.data_size = 0  # of the tensors, with the gaps between them
        self.kept_bytes = 0

    def parse(self) -> GGUFInfo:
        version = self._read_version()
        tensor_count, metadata_count = self.window.unpack(self.shapes.counts)
        if metadata_count > MAX_METADATA:
            raise MalformedGGUFError(self.path, f"{metadata_count:,} metadata pairs")
        if tensor_count > MAX_TENSORS:
            raise MalformedGGUFError(self.path, f"{tensor_count:,} tensors")

        for _ in range(metadata_count):
            self._read_pair()
        self._read_tensors(tensor_count)
        return GGUFInfo(
            version=version,
            is_big_endian=self.shapes is _BIG,
            file_size=self.file_size,
            metadata=self.metadata,
            array_lengths=self.array_lengths,
            tensor_count=tensor_count,
            parameter_count=self._parameter_count(),
            tensor_types=self._tensor_types(),
            data_end=self._data_end(),
        )

    def is_certain(self) -> bool:
        """Whether no jump was made, or a second array confirms how many tokens there are."""
        lengths = [self.array_lengths[key] for key in TOKEN_KEYS & self.array_lengths.keys()]
        is_confirmed = len(lengths) > 1 and len(set(lengths)) == 1
        return is_confirmed or not self.window.has_jumped

    def _read_version(self) -> int:
        if self.file_size == 0:
            raise NotGGUFError(self.path, "zero bytes")
        magic = self.window.take(min(len(MAGIC), self.file_size))
        if magic != MAGIC:
            raise NotGGUFError(self.path)
        (version,) = self.window.unpack(self.shapes.u32)
        if version and version & 0xFFFF == 0:  # read in the wrong byte order
            self.shapes = _BIG
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in SUPPORTED_VERSIONS:
            raise UnsupportedGGUFError(self.path, f"unsupported GGUF version {version}")
        return version

    def _read_pair(self) -> None:
        window = self.window
        buffer, pos = window.peek(MAX_PAIR_BYTES)
        (size,) = self.shapes.u64.unpack_from(buffer, pos)
        if size > MAX_KEY_BYTES:
            raise MalformedGGUFError(self.path, f"a metadata key of {size:,} bytes")
        end = pos + 8 + size
        (kind,) = self.shapes.u32.unpack_from(buffer, end)
        window.advance(end + 4)
        key = _text(buffer[pos + 8 : end])
        if key in self.metadata or key in self.array_lengths:
            raise MalformedGGUFError(self.path, f"the metadata has {key[:80]!r} twice")

        value: Value | None
        if kind == _ARRAY:
            value = self._read_array(key)
        elif kind == _STRING:
            value = self._read_string()
        else:
            value = self._read_scalar(self._scalar_shape(key, kind))
        if value is not None:
            self.metadata[key] = value

    def _scalar_shape(self, key: str, kind: int) -> struct.Struct:
        shape = self.shapes.scalars.get(kind)
        if shape is None:
            raise UnsupportedGGUFError(
                self.path, f"unsupported GGUF value type {kind} of {key[:80]!r}"
            )
        return shape

    def _read_scalar(self, shape: struct.Struct) -> Scalar | None:
        """Read a number or a truth value; None for a float that JSON does not have."""
        value: Scalar = self.window.unpack(shape)[0]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    def _read_string(self) -> str | None:
        """Read the beginning of a string; None when enough strings have been kept."""
        (size,) = self.window.unpack(self.shapes.u64)
        kept = min(size, MAX_STRING_BYTES)
        if self.kept_bytes + kept > MAX_KEPT_BYTES:
            self.window.skip(size)
            return None
        self.kept_bytes += kept
        raw = self.window.take(kept)
        self.window.skip(size - kept)
        return _text(raw) if kept < _SHARED_BYTES else _shared_text(raw)

    def _read_array(self, key: str) -> list[Scalar] | None:
        """Read a short array, or step over one that is long or a tokenizer's."""
        kind, length = self.window.unpack(self.shapes.array)
        self.array_lengths[key] = length
        if kind == _STRING:
            if not self._is_wanted(key, length, MAX_STRINGS):
                self._skip_strings(key, length)
                return None
            strings = [self._read_string() for _ in range(length)]
            return [text for text in strings if text is not None]

        # Arrays of arrays, which llama.cpp refuses as well, have no scalar shape.
        shape = self._scalar_shape(key, kind)
        if not self._is_wanted(key, length, MAX_NUMBERS):
            self.window.skip(length * shape.size)
            return None
        numbers = shape.iter_unpack(self.window.take(length * shape.size))
        return [number for (number,) in numbers if math.isfinite(number)]

    def _is_wanted(self, key: str, length: int, most: int) -> bool:
        """Whether an array is worth reading; what is read is charged."""
        cost = length * _ITEM_BYTES
        if length > most or key.startswith("tokenizer."):
            return False
        if self.kept_bytes + cost > MAX_KEPT_BYTES:
            return False
        self.kept_bytes += cost
        return True

    def _skip_strings(self, key: str, length: int) -> None:
        is_worth_it = self.may_jump and length >= MIN_JUMP and key in JUMPED_KEYS
        if is_worth_it and self.shapes is _LITTLE and self.window.jump_strings(length):
            return
        self.window.skip_strings(length, self.shapes.u64)

    def _read_tensors(self, count: int) -> None:
        """Read the tensor table, where half the time of a scan goes by.

        So a record comes in one piece with the length of the next one's name, which for
        the last one is whatever follows, or zeros.
        """
        window, totals, shapes = self.window, self.tensor_elements, self.shapes.tensors
        read_u64, read_matrix = self.shapes.u64.unpack_from, shapes[2].unpack_from
        while count:
            buffer, pos = window.peek(MAX_TENSOR_BYTES)
            last = len(buffer) - MAX_TENSOR_BYTES
            (size,) = read_u64(buffer, pos)
            while count and pos <= last:
                if size > MAX_TENSOR_NAME_BYTES:
                    raise MalformedGGUFError(self.path, f"a tensor name of {size:,} bytes")
                pos += 8 + size
                dim_count, dim, elements, type_id, offset, size = read_matrix(buffer, pos)
                if dim_count == 2:
                    elements *= dim
                    pos += 32
                else:
                    if dim_count > MAX_DIMS:
                        raise MalformedGGUFError(
                            self.path, f"a tensor of {dim_count:,} dimensions"
                        )
                    shape = shapes[dim_count]
                    _, *dims, type_id, offset, size = shape.unpack_from(buffer, pos)
                    elements = math.prod(dims)
                    pos += shape.size - 8
                count -= 1
                totals[type_id] += elements
                block_elements, block_bytes = _BLOCKS.get(type_id, _UNKNOWN_BLOCK)
                end = offset - (-elements // block_elements) * block_bytes
                if end > self.data_size:  # noqa: PLR1730 - a call to max() costs 10% here
                    self.data_size = end
            window.advance(pos)

    def _tensor_types(self) -> dict[str, int]:
        """Return the elements by the names of their types."""
        return {
            GGML_TYPES[type_id].name if type_id in GGML_TYPES else f"type {type_id}": elements
            for type_id, elements in self.tensor_elements.items()
        }

    def _parameter_count(self) -> int:
        count = sum(self.tensor_elements.values())
        if count > MAX_COUNT:
            raise MalformedGGUFError(self.path, "more than 2^63 parameters")
        return count

    def _data_end(self) -> int:
        """Return how long the file must be for all of its tensors to be there."""
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise MalformedGGUFError(self.path, f"an alignment of {alignment!r:.40}")
        header_end = self.window.offset
        if not self.tensor_elements:
            return header_end
        data_end = -(-header_end // alignment) * alignment + self.data_size
        if data_end > self.file_size:
            raise TruncatedGGUFError(self.path, f"{self.file_size:,} bytes of {data_end:,}")
        return data_end


def _text(raw: bytes) -> str:
    """Decode a string of the header; NUL is dropped, PostgreSQL has no place for it."""
    return raw.decode("utf-8", "replace").replace("\0", "")


@lru_cache(maxsize=4)
def _shared_text(raw: bytes) -> str:
    """Decode a chat template once for all quantizations of a model: near half of the memory."""
    return _text(raw)
