"""Look at a registered model's files again: are they still what was registered?"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models_app.errors import GGUFError
from models_app.filename import Shard
from models_app.gguf import read_gguf
from models_app.models import DiscoveredModel

CHUNK_BYTES = 8 * 2**20
# Blobs are named by their content: by the hub's cache (for large files) and by Ollama.
_SHA256_NAME = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Verification:
    """The sha256 of one file, and what it should be: by its blob's name, or as it was."""

    path: Path
    actual: str
    expected: str | None

    @property
    def is_sound(self) -> bool | None:
        """None: nothing says what it should be."""
        return None if self.expected is None else self.actual == self.expected


def validate(model: DiscoveredModel) -> list[str]:
    """Return what is wrong with the model's files; nothing if all is well.

    Whether they are there, readable, of the recorded size, with a sound header and
    all shards. Reads headers, not weights.
    """
    problems = []
    size_bytes = 0
    for path in shard_paths(model):
        try:
            size_bytes += path.stat().st_size
            read_gguf(path, is_thorough=True)
        except GGUFError as error:
            problems.append(f"{path.name}: {error.reason}")
        except FileNotFoundError:
            problems.append(f"{path.name}: the file is missing")
        except OSError as error:
            problems.append(f"{path.name}: {os.strerror(error.errno or 0).lower()}")
    if not problems and size_bytes != model.size_bytes:
        problems.append(
            f"{size_bytes} bytes on disk, {model.size_bytes} when it was scanned; rescan"
        )
    return problems


def sha256_named(path: Path | str) -> str | None:
    """Return the hash that a blob's name promises; None for a file that is no blob."""
    named = _SHA256_NAME.fullmatch(Path(path).name)
    return named[1] if named else None


def verify(
    model: DiscoveredModel,
    on_bytes: Callable[[int], None] = lambda _count: None,
    *,
    known: Mapping[str, str] | None = None,
) -> Iterator[Verification]:
    """Read every byte of the model's files, and compare with their blobs' names.

    Its projector is among them if it is a blob: of any other, nothing says what it should be.

    Args:
        on_bytes: called with the number of bytes just read.
        known: hashes by file name, for files that are no blobs.

    Raises:
        OSError: a file cannot be read.
    """
    for path in verified_paths(model):
        named = sha256_named(path.resolve()) or (known or {}).get(path.name)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                on_bytes(len(chunk))
        yield Verification(path, digest.hexdigest(), named)


def verified_paths(model: DiscoveredModel) -> list[Path]:
    """Return the paths of all that `verify` reads."""
    projector = Path(model.projector_path)
    is_blob = bool(model.projector_path) and sha256_named(projector.resolve()) is not None
    return [*shard_paths(model), *([projector] if is_blob else ())]


def shard_paths(model: DiscoveredModel) -> list[Path]:
    """Return the paths of all the model's files, whether they are there or not."""
    first = Path(model.file_path)
    shard = Shard.parse(first.stem)
    if shard is None:
        return [first]
    stem = first.stem.removesuffix(f"-{shard.index:05}-of-{shard.total:05}")
    return [
        first.with_name(f"{stem}-{index:05}-of-{shard.total:05}{first.suffix}")
        for index in range(1, shard.total + 1)
    ]
