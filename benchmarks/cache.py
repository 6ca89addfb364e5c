"""A Hugging Face cache of any number of files: real headers, and tensors that are holes."""

import hashlib
import os
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

_U32, _F32, _STRING, _ARRAY, _I32 = 4, 6, 8, 9, 5
_Q4_K = 12
_TENSOR = (3584, 1024)
_TENSOR_BYTES = 3584 * 1024 // 256 * 144
_LAYERS, _TENSORS_PER_LAYER = 24, 12  # 288 tensors, as a model of seven billion weights has
_QUANTS = ("Q4_K_M", "Q5_K_M", "Q8_0", "IQ4_XS", "Q6_K")
_ARCHITECTURES = ("qwen2", "llama", "gemma3", "qwen3moe")
_TEMPLATE = (
    "{%- if tools %}{% endif %}{% for message in messages %}" + "x" * 3500 + "{% endfor %}"
)

SMALL_VOCABULARY = 256
BIG_VOCABULARY = 150_000


class Header(NamedTuple):
    raw: bytes
    file_size: int  # with all tensors


@dataclass(slots=True)
class Cache:
    """What was made: the headers' lengths are what a reader has to read at least."""

    root: Path
    header_bytes: dict[Path, int] = field(default_factory=dict)  # by blob
    big_vocabularies: int = 0
    broken: int = 0
    projectors: int = 0
    split_models: int = 0

    @property
    def files(self) -> int:
        return len(self.header_bytes)

    def put(self, repo: Path, name: str, raw: bytes, size: int) -> None:
        """Write a blob and the link to it, as huggingface_hub does."""
        blob = repo / "blobs" / hashlib.sha256(f"{repo}/{name}".encode()).hexdigest()
        link = repo / "snapshots" / _revision(repo) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(raw)
        os.truncate(blob, size)
        link.symlink_to(os.path.relpath(blob, link.parent))
        self.header_bytes[blob] = len(raw)


def make_cache(root: Path, files: int, *, big_every: int = 50) -> Cache:
    """Fill `root` with `files` files: one in `big_every` has 150,000 tokens and as many merges.

    Of 125 files about three are broken: half a header, half of the tensors, a web page.
    Some models are split, some have a projector, some have a second revision.
    """
    made = Cache(root)
    number = 0
    while made.files < files:
        number += 1
        _make_repo(made, number, files, big_every)
    return made


def gguf_header(
    name: str,
    *,
    architecture: str = "qwen2",
    vocabulary: int = SMALL_VOCABULARY,
    shard: tuple[int, int] | None = None,
) -> Header:
    """Return the header of a model as the converter writes it: 22 pairs, 288 tensors."""
    pairs = [
        _text("general.architecture", architecture),
        _text("general.type", "model"),
        _text("general.name", name),
        _text("general.size_label", "7B"),
        _text("general.license", "apache-2.0"),
        _number("general.quantization_version", 2),
        _number("general.file_type", 15),
        _number(f"{architecture}.context_length", 32_768),
        _number(f"{architecture}.embedding_length", 3584),
        _number(f"{architecture}.block_count", _LAYERS),
        _number(f"{architecture}.feed_forward_length", 18_944),
        _number(f"{architecture}.attention.head_count", 28),
        _number(f"{architecture}.attention.head_count_kv", 4),
        _pair(f"{architecture}.rope.freq_base", _F32, struct.pack("<f", 1e6)),
        *_tokenizer(vocabulary),
    ]
    if shard is not None:
        pairs += [_number("split.no", shard[0]), _number("split.count", shard[1])]
    return _header(pairs, _tensor_table(), _LAYERS * _TENSORS_PER_LAYER)


def _make_repo(made: Cache, number: int, files: int, big_every: int) -> None:
    name = f"Model{number}-7B"
    repo = made.root / f"models--org{number % 40}--{name}-GGUF"
    architecture = _ARCHITECTURES[number % len(_ARCHITECTURES)]
    for quant in _QUANTS[: files - made.files]:
        is_big = made.files % big_every == 0
        made.big_vocabularies += is_big
        header = gguf_header(
            name,
            architecture=architecture,
            vocabulary=BIG_VOCABULARY if is_big else SMALL_VOCABULARY,
        )
        raw, size = _broken(header, number) if quant == "Q8_0" else header
        made.broken += size != header.file_size
        made.put(repo, f"{name}-{quant}.gguf", raw, size)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(_revision(repo))
    if number % 10 == 0:
        _add_revision(repo)
    if number % 25 == 4 and made.files + 3 <= files:
        made.split_models += 1
        for index in range(3):
            shard = gguf_header(name, shard=(index, 3))
            made.put(repo, f"BF16/{name}-BF16-{index + 1:05}-of-00003.gguf", *shard)
    if number % 25 == 5 and made.files < files:
        made.projectors += 1
        pairs = [_text("general.architecture", "clip"), _text("general.type", "mmproj")]
        made.put(repo, f"mmproj-{name}-F16.gguf", *_header(pairs, b"", 0))


def _broken(header: Header, number: int) -> Header:
    """Return what is on disk of a file: all of it, for most repos."""
    half = len(header.raw) // 2
    return {
        1: Header(header.raw[:half], half),
        2: Header(header.raw, header.file_size // 2),
        3: Header(b"<html>not found</html>" * 4, 88),
    }.get(number % 25, header)


def _add_revision(repo: Path) -> None:
    """Add an older revision that has the same blobs."""
    newest = repo / "snapshots" / _revision(repo)
    older = repo / "snapshots" / _revision(repo)[::-1]
    older.mkdir()
    for link in newest.glob("*.gguf"):
        (older / link.name).symlink_to(link.readlink())


def _revision(repo: Path) -> str:
    return hashlib.sha256(repo.name.encode()).hexdigest()[:40]


def _header(pairs: list[bytes], tensor_table: bytes, tensors: int) -> Header:
    raw = (
        struct.pack("<4sIQQ", b"GGUF", 3, tensors, len(pairs)) + b"".join(pairs) + tensor_table
    )
    raw += bytes(-len(raw) % 32)
    return Header(raw, len(raw) + tensors * _TENSOR_BYTES)


@cache
def _tokenizer(vocabulary: int) -> tuple[bytes, ...]:
    tokens = [b"tok%d" % index for index in range(vocabulary)]
    merges = [b"to k%d" % index for index in range(vocabulary)]
    types = struct.pack(f"<IQ{vocabulary}i", _I32, vocabulary, *[1] * vocabulary)
    return (
        _text("tokenizer.ggml.model", "gpt2"),
        _text("tokenizer.ggml.pre", "qwen2"),
        _pair("tokenizer.ggml.tokens", _ARRAY, _strings(tokens)),
        _pair("tokenizer.ggml.token_type", _ARRAY, types),
        _pair("tokenizer.ggml.merges", _ARRAY, _strings(merges)),
        _number("tokenizer.ggml.eos_token_id", 2),
        _text("tokenizer.chat_template", _TEMPLATE),
    )


@cache
def _tensor_table() -> bytes:
    table = b""
    for index in range(_LAYERS * _TENSORS_PER_LAYER):
        name = b"blk.%d.tensor_%d.weight" % divmod(index, _TENSORS_PER_LAYER)
        table += _string(name)
        table += struct.pack("<IQQIQ", 2, *_TENSOR, _Q4_K, index * _TENSOR_BYTES)
    return table


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _strings(items: list[bytes]) -> bytes:
    return struct.pack("<IQ", _STRING, len(items)) + b"".join(_string(item) for item in items)


def _pair(key: str, kind: int, payload: bytes) -> bytes:
    return _string(key.encode()) + struct.pack("<I", kind) + payload


def _text(key: str, text: str) -> bytes:
    return _pair(key, _STRING, _string(text.encode()))


def _number(key: str, number: int) -> bytes:
    return _pair(key, _U32, struct.pack("<I", number))
