"""Models for the stand-ins to give away: real headers, and weights that cost no disk."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.models_app.ggufs import Tensor, write_gguf

CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Content:
    """A file that is given away, with what is told of it: the truth, or something else."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Content":
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return cls(path, path.stat().st_size, digest.hexdigest())


def make_model(
    folder: Path, name: str, megabytes: float = 0.2, metadata: Mapping[str, Any] | None = None
) -> Content:
    """Write a GGUF file of about so many MB, each name with other bytes."""
    rows = max(1, int(megabytes * 1e6) // (32 * 4))
    path = write_gguf(folder / name, metadata, (Tensor("token_embd.weight", (32, rows)),))
    with path.open("r+b") as file:
        file.seek(-64, 2)
        file.write(hashlib.sha512(name.encode()).digest())
    return Content.of(path)
