"""Write GGUF files for tests: real headers, and tensors that cost no disk."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_app.ggml_types import GGML_TYPES, GGMLType

ALIGNMENT = 32

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_SHAPES = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_TYPE_IDS = {kind.name: type_id for type_id, kind in GGML_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Typed:
    """A metadata value whose type matters to the test; others get the usual one."""

    kind: int
    value: Any


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dims: tuple[int, ...]
    type_name: str = "F32"
    type_id: int | None = None  # to write an id that there is no name for

    @property
    def byte_count(self) -> int:
        kind = GGML_TYPES.get(self.id, GGMLType("unknown", 1, 0))
        elements = 1
        for dim in self.dims:
            elements *= dim
        return -(-elements // kind.block_elements) * kind.block_bytes

    @property
    def id(self) -> int:
        return _TYPE_IDS[self.type_name] if self.type_id is None else self.type_id


TINY = (Tensor("token_embd.weight", (32, 4)),)

TEXT_MODEL: dict[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}


def gguf_bytes(
    metadata: Mapping[str, Any] | None = None,
    tensors: Sequence[Tensor] = TINY,
    *,
    version: int = 3,
    order: str = "<",
) -> bytes:
    """Return a header, up to where the data of the first tensor begins."""
    pairs = TEXT_MODEL if metadata is None else metadata
    raw = b"GGUF" + struct.pack(f"{order}IQQ", version, len(tensors), len(pairs))
    for key, value in pairs.items():
        raw += _string(key, order) + _pair_value(value, order)
    offset = 0
    for tensor in tensors:
        shape = f"{order}I{len(tensor.dims)}QIQ"
        raw += _string(tensor.name, order)
        raw += struct.pack(shape, len(tensor.dims), *tensor.dims, tensor.id, offset)
        offset += -(-tensor.byte_count // ALIGNMENT) * ALIGNMENT
    return raw + bytes(-len(raw) % ALIGNMENT)


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any] | None = None,
    tensors: Sequence[Tensor] = TINY,
    **options: Any,
) -> Path:
    """Write a complete file. The tensors are a hole in it: 14 billion weights cost 4 KB."""
    header = gguf_bytes(metadata, tensors, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header)
    size = sum(-(-tensor.byte_count // ALIGNMENT) * ALIGNMENT for tensor in tensors)
    with path.open("r+b") as file:
        file.truncate(len(header) + size)
    return path


def _string(text: str | bytes, order: str) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack(f"{order}Q", len(raw)) + raw


def _pair_value(value: Any, order: str) -> bytes:
    typed = value if isinstance(value, Typed) else Typed(_kind(value), value)
    return struct.pack(f"{order}I", typed.kind) + _payload(typed, order)


def _payload(typed: Typed, order: str) -> bytes:
    if typed.kind == STRING:
        return _string(typed.value, order)
    if typed.kind == ARRAY:
        items = [i if isinstance(i, Typed) else Typed(_kind(i), i) for i in typed.value]
        kind = items[0].kind if items else U32
        head = struct.pack(f"{order}IQ", kind, len(items))
        return head + b"".join(_payload(item, order) for item in items)
    return struct.pack(order + _SHAPES[typed.kind], typed.value)


def _kind(value: Any) -> int:
    kinds = {bool: BOOL, int: U32, float: F32, str: STRING, bytes: STRING, list: ARRAY}
    return kinds[type(value)]
