"""Walk scan roots, and put the files together that are one model.

Nothing is opened here. Reading the headers is discovery's business.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models_app.errors import ScanRootError
from models_app.filename import Shard, parse_filename, split_stem

HUGGINGFACE = "huggingface"
DIRECTORY = "directory"

_REPO_PREFIX = "models--"
_CACHE_FOLDERS = (_REPO_PREFIX, "datasets--", "spaces--", ".locks")
_PARTIAL = (".incomplete", ".part")
_ERRNO_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "broken link",
    errno.ELOOP: "symlink loop",
}


@dataclass(frozen=True, slots=True)
class RootSpec:
    path: Path
    kind: str  # HUGGINGFACE or DIRECTORY


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
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files that are on disk of one model, in order of their shards."""

    root: Path
    identity: str
    repo_id: str
    folder: str  # within which a projector belongs to the models
    files: tuple[ScannedFile, ...]


@dataclass(slots=True)
class RootListing:
    """What a walk over one root found."""

    models: list[ModelFiles] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    errors: list[tuple[Path, str]] = field(default_factory=list)  # unreadable folders


def detect_kind(path: Path) -> str:
    """Return HUGGINGFACE for a folder with `models--*` children, else DIRECTORY.

    Raises:
        ScanRootError: the folder is missing or cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            is_cache = any(entry.name.startswith(_REPO_PREFIX) for entry in entries)
    except OSError as error:
        raise ScanRootError(path, os_reason(error, missing="no such folder")) from error
    return HUGGINGFACE if is_cache else DIRECTORY


def list_root(spec: RootSpec) -> RootListing:
    """Walk a root and account for every model file in it.

    Raises:
        ScanRootError: the root itself is missing or cannot be read.
    """
    listing = RootListing()
    detect_kind(spec.path)  # whether it can be read
    if spec.kind == HUGGINGFACE:
        for repo in sorted(spec.path.glob(f"{_REPO_PREFIX}*")):
            _list_repo(spec.path, repo, listing)
        loose = _walk(spec.path, listing, without=_CACHE_FOLDERS)
    else:
        loose = _walk(spec.path, listing, without=(".locks",))
    for files in _sets(loose, spec.path).values():
        first = files[0].path
        publisher = first.parent.relative_to(spec.path)
        listing.models.append(
            ModelFiles(
                root=spec.path,
                identity=safe_text(first.resolve()),
                repo_id=publisher.as_posix() if len(publisher.parts) == 2 else "",
                folder=str(first.parent),
                files=files,
            )
        )
    return listing


def os_reason(error: OSError, *, missing: str = "broken link") -> str:
    """Return an operating system's error in the words of a scan report."""
    if error.errno == errno.ENOENT:
        return missing
    return _ERRNO_REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())


def safe_text(path: Path) -> str:
    """Return a path as text that a database takes, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "replace")


def _list_repo(root: Path, repo: Path, listing: RootListing) -> None:
    """List one repo of a Hugging Face cache: `models--ORG--NAME`."""
    repo_id = repo.name.removeprefix(_REPO_PREFIX).replace("--", "/", 1)
    _list_partial_blobs(repo / "blobs", listing)
    chosen: dict[str, tuple[ScannedFile, ...]] = {}
    older: list[tuple[str, tuple[ScannedFile, ...]]] = []
    for revision in _revisions(repo, listing):
        for name, files in _sets(_walk(revision, listing), revision).items():
            best = chosen.setdefault(name, files)
            if best is files:
                continue
            if _is_complete(files) and not _is_complete(best):
                chosen[name] = files
                older.append((name, best))
            else:
                older.append((name, files))

    for name, files in older:
        for file in files:
            listing.skipped.append(_superseded(file, chosen[name]))
    for name, files in chosen.items():
        listing.models.append(
            ModelFiles(
                root=root,
                identity=f"hf:{repo_id}:{name}",
                repo_id=repo_id,
                folder=str(repo),
                files=files,
            )
        )


def _revisions(repo: Path, listing: RootListing) -> list[Path]:
    """Return the snapshots of a repo, the one of refs/main first, then the newest."""
    try:
        snapshots = [path for path in (repo / "snapshots").iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []  # a download that has only begun
    except OSError as error:
        listing.errors.append((repo / "snapshots", os_reason(error)))
        return []
    try:
        main = (repo / "refs/main").read_text("utf-8", "replace").strip()
    except OSError:
        main = ""
    return sorted(snapshots, key=lambda path: (path.name != main, -path.stat().st_mtime_ns))


def _list_partial_blobs(blobs: Path, listing: RootListing) -> None:
    """Report the downloads that have stopped half-way; they have no link yet."""
    try:
        paths = sorted(blobs.iterdir())
    except OSError:
        return  # without blobs there is nothing to report, the snapshots tell the rest
    for path in paths:
        if path.suffix in _PARTIAL:
            listing.skipped.append(Skipped(path, "incomplete download"))


def _superseded(file: ScannedFile, newer: Iterable[ScannedFile]) -> Skipped:
    paths = {item.path.name: item for item in newer}
    same = paths.get(file.path.name) or next(iter(paths.values()))
    if (same.device, same.inode) == (file.device, file.inode):
        return Skipped(file.path, f"duplicate of {same.path}")
    return Skipped(file.path, f"older revision of {same.path}")


def _is_complete(files: tuple[ScannedFile, ...]) -> bool:
    shard = Shard.parse(files[0].path.stem)
    return shard is None or len(files) == shard.total


def _sets(files: Iterable[ScannedFile], base: Path) -> dict[str, tuple[ScannedFile, ...]]:
    """Group shards: the path of the first file of each model, relative to `base`."""
    groups: dict[tuple[Path, str, int], list[ScannedFile]] = {}
    for file in files:
        shard = Shard.parse(file.path.stem)
        name = split_stem(file.path.name) if shard else file.path.name
        key = (file.path.parent, name, shard.total if shard else 0)
        groups.setdefault(key, []).append(file)
    ordered = (tuple(sorted(group, key=_shard_index)) for group in groups.values())
    return {safe_text(group[0].path.relative_to(base)): group for group in ordered}


def _shard_index(file: ScannedFile) -> int:
    shard = parse_filename(file.path.name).shard
    return shard.index if shard else 0


def _walk(
    top: Path, listing: RootListing, *, without: tuple[str, ...] = ()
) -> Iterator[ScannedFile]:
    """Yield the GGUF files below `top`; links to folders are followed once."""
    folders, seen = [top], set()
    while folders:
        folder = folders.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            listing.errors.append((Path(safe_text(folder)), os_reason(error)))
            continue
        below = []
        for entry in ordered:
            if _is_folder(entry):
                if folder != top or not entry.name.startswith(without or ("\0",)):
                    below.append(folder / entry.name)
            elif (file := _file(entry, listing)) is not None:
                yield file
        folders += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle; if it is named like a model, it is reported
        return False


def _file(entry: os.DirEntry[str], listing: RootListing) -> ScannedFile | None:
    """Return a GGUF file that may be a model; other model files are put on the list."""
    name = entry.name.lower()
    path = Path(entry.path)
    if name.endswith(_PARTIAL):
        listing.skipped.append(Skipped(path, "incomplete download"))
    elif name.endswith(".gguf"):
        try:
            status = entry.stat()
        except OSError as error:
            listing.skipped.append(Skipped(path, os_reason(error)))
            return None
        reason = ""
        if not stat.S_ISREG(status.st_mode):
            reason = "not a regular file"
        elif status.st_size == 0:
            reason = "zero bytes"
        elif safe_text(path) != str(path):
            reason = "its name is not UTF-8"
        if not reason:
            return ScannedFile(
                path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            )
        listing.skipped.append(Skipped(Path(safe_text(path)), reason))
    return None
