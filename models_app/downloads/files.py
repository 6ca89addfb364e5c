"""What is to be fetched: files with their sizes and hashes, and where they come to lie."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash

SHA256: Final = "sha256"
GIT: Final = "git-sha1"  # of small files, which a hub keeps in git itself


@dataclass(frozen=True, slots=True)
class Digest:
    algorithm: str
    value: str  # hexadecimal, lower case

    def hasher(self, size_bytes: int) -> "_Hash":
        if self.algorithm == SHA256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at its hub."""

    name: str  # for people
    url: str
    size_bytes: int
    digest: Digest
    blob: Path  # where it comes to lie
    partial: Path  # what there is of it until then
    is_gguf: bool = True

    @property
    def size_here(self) -> int:
        """How much of it is there already."""
        for path in (self.blob, self.partial):
            try:
                size = path.stat().st_size
            except OSError:
                continue
            if path is self.partial or size == self.size_bytes:
                return min(size, self.size_bytes)
        return 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All files of one model, and what makes a model of them."""

    files: tuple[RemoteFile, ...]
    root: Path  # the cache or the store: a scan root
    root_kind: str
    commit: str
    note: str  # what was chosen, where nobody said it
    place: Callable[[], list[Path]]  # puts the links, or the manifest; the model's paths
    token: str = ""

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
