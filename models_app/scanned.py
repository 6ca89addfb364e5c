"""What a walk over a scan root yields: files, the models they make, and reasons."""

import errno
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

HUGGINGFACE = "huggingface"
DIRECTORY = "directory"
OLLAMA = "ollama"
GEMMA = "gemma"

GONE = "gone since the scan began"

_ERRNO_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "broken link",
    errno.ELOOP: "symlink loop",
    errno.ENOTDIR: "not a folder",
    errno.ENAMETOOLONG: "its path is too long",
}
# Control characters, line separators, and marks that turn the reading direction round:
# they forge lines of a log, and names on a screen.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class RootSpec:
    path: Path
    kind: str  # HUGGINGFACE, DIRECTORY, OLLAMA or GEMMA


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no model of its own, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ScannedFile:
    path: Path  # as found, through whatever links
    device: int
    inode: int
    size: int  # bytes
    mtime_ns: int
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files that are on disk of one model, in order of their shards."""

    root: Path
    identity: str
    repo_id: str
    folder: str  # within which a projector belongs to the models
    files: tuple[ScannedFile, ...]
    filename: str  # what it is known by: of an Ollama model its name and tag
    manifest: Path | None = None  # of an Ollama model, whose blobs tell a reader nothing
    projector_path: Path | None = None  # that a manifest names
    problem: str = ""  # why it cannot run, as far as its folder tells
    warnings: tuple[str, ...] = ()

    @property
    def reported_path(self) -> Path:
        """The path under which a report accounts for the model."""
        return self.manifest or self.files[0].path


@dataclass(slots=True)
class RootListing:
    """What a walk over one root found."""

    models: list[ModelFiles] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    errors: list[tuple[Path, str]] = field(default_factory=list)  # unreadable folders

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(Path(safe_text(path)), reason))

    def fail(self, folder: Path, error: OSError) -> None:
        self.errors.append((Path(safe_text(folder)), os_reason(error)))


def os_reason(error: OSError, *, missing: str = "broken link") -> str:
    """Return an operating system's error in the words of a scan report."""
    if error.errno == errno.ENOENT:
        return missing
    return _ERRNO_REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())


def safe_text(path: Path) -> str:
    """Return a path as text that a database and a terminal take, whatever its bytes are."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return _UNPRINTABLE.sub("\ufffd", text)


def why_unusable(path: Path, status: os.stat_result) -> str:
    """Return why a file that is named like a model is not opened; empty if it may be."""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"  # a pipe would hang the scan, a device never ends
    if status.st_size == 0:
        return "zero bytes"
    text = str(path)
    if _UNPRINTABLE.search(text):
        return "its name has control characters"
    return "" if safe_text(path) == text else "its name is not UTF-8"


def scanned_file(path: Path, status: os.stat_result, *, is_link: bool = False) -> ScannedFile:
    return ScannedFile(
        path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, is_link
    )


def read_small_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that is meant to be small, up to one byte more than `max_bytes`.

    Raises:
        OSError: the file cannot be read, or is a pipe, a device or a folder.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    with path.open("rb") as file:
        return file.read(max_bytes + 1)
