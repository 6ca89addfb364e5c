"""Scan roots by their layout: a Hugging Face cache, plain folders, Ollama's store, gemma.cpp.

No model is opened here. Reading the headers is discovery's business.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from models_app import gemma, ollama
from models_app.errors import ScanRootError
from models_app.filename import Shard
from models_app.scanned import (
    DIRECTORY,
    GEMMA,
    HUGGINGFACE,
    OLLAMA,
    ModelFiles,
    RootListing,
    RootSpec,
    ScannedFile,
    Skipped,
    os_reason,
    read_small_file,
    safe_text,
)
from models_app.walk import (
    MODEL_SUFFIXES,
    PARTIAL_SUFFIXES,
    model_sets,
    real_path,
    walk,
)

__all__ = ["RootSpec", "detect_kind", "list_root"]

REPO_PREFIX = "models--"
CACHE_FOLDERS = (REPO_PREFIX, "datasets--", "spaces--", ".locks")
_MAX_REF_BYTES = 200  # a ref is the hash of a commit


def detect_kind(path: Path) -> str:
    """Return the layout of a folder by the names in it; DIRECTORY is what has no other.

    Raises:
        ScanRootError: the folder is missing or cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            names = {entry.name for entry in entries}
    except OSError as error:
        raise ScanRootError(path, os_reason(error, missing="no such folder")) from error
    if any(name.startswith(REPO_PREFIX) for name in names):
        return HUGGINGFACE
    if ollama.is_store(names):
        return OLLAMA
    if any(gemma.is_weights(name) for name in names):
        return GEMMA
    return DIRECTORY


def list_root(spec: RootSpec) -> RootListing:
    """Walk a root and account for every model file in it.

    Raises:
        ScanRootError: the root itself is missing or cannot be read.
    """
    listing = RootListing()
    detect_kind(spec.path)  # whether it can be read
    if spec.kind == HUGGINGFACE:
        for repo in sorted(spec.path.glob(f"{REPO_PREFIX}*")):
            _list_repo(spec.path, repo, listing)
        loose = walk(spec.path, listing, without=CACHE_FOLDERS)
        _list_files(spec.path, loose, listing)
    elif spec.kind == OLLAMA:
        ollama.list_store(spec.path, listing)
    elif spec.kind == GEMMA:
        files = list(walk(spec.path, listing, suffixes=(*MODEL_SUFFIXES, *gemma.SUFFIXES)))
        gemma.list_weights(spec.path, files, listing)
        _list_files(spec.path, (file for file in files if not gemma.is_ours(file)), listing)
    else:
        _list_files(spec.path, walk(spec.path, listing, without=(".locks",)), listing)
    return listing


def _list_files(root: Path, files: Iterable[ScannedFile], listing: RootListing) -> None:
    """List GGUF files of a tree of folders, such as LM Studio's `models/PUBLISHER/REPO/`."""
    folders: dict[str, str] = {}
    for members in model_sets(files, root).values():
        first = members[0]
        listing.models.append(
            ModelFiles(
                root=root,
                identity=safe_text(real_path(first, folders)),
                repo_id=_repo_id(first.path.parent.relative_to(root).parts),
                folder=str(first.path.parent),
                files=members,
                filename=first.path.name,
            )
        )


def _repo_id(folders: tuple[str, ...]) -> str:
    """Return PUBLISHER/REPO where the folders are LM Studio's; empty where they are not."""
    if folders[:1] == ("models",):
        folders = folders[1:]
    return "/".join(folders) if len(folders) == 2 else ""


def _list_repo(root: Path, repo: Path, listing: RootListing) -> None:
    """List one repo of a Hugging Face cache: `models--ORG--NAME`."""
    repo_id = repo.name.removeprefix(REPO_PREFIX).replace("--", "/", 1)
    _list_partial_blobs(repo / "blobs", listing)
    chosen: dict[str, tuple[ScannedFile, ...]] = {}
    older: list[tuple[str, tuple[ScannedFile, ...]]] = []
    for revision in _revisions(repo, listing):
        for name, files in model_sets(walk(revision, listing), revision).items():
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
                filename=files[0].path.name,
            )
        )


def _revisions(repo: Path, listing: RootListing) -> list[Path]:
    """Return the snapshots of a repo, the one of refs/main first, then the newest."""
    try:
        with os.scandir(repo / "snapshots") as entries:
            changed_at = {entry.name: _changed_at(entry) for entry in entries}
    except FileNotFoundError:
        return []  # a download that has only begun
    except OSError as error:
        listing.fail(repo / "snapshots", error)
        return []
    try:
        ref = read_small_file(repo / "refs/main", _MAX_REF_BYTES)
    except OSError:
        ref = b""
    main = ref.decode("utf-8", "replace").strip()
    names = [name for name, when in changed_at.items() if when is not None]
    names.sort(key=lambda name: (name != main, -(changed_at[name] or 0), name))
    return [repo / "snapshots" / name for name in names]


def _changed_at(entry: os.DirEntry[str]) -> int | None:
    """Return when a revision was changed, in ns; None for what is no folder, or no more."""
    try:
        return entry.stat().st_mtime_ns if entry.is_dir() else None
    except OSError:
        return None


def _list_partial_blobs(blobs: Path, listing: RootListing) -> None:
    """Report the downloads that have stopped half-way; they have no link yet."""
    try:
        with os.scandir(blobs) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return
    except OSError as error:
        listing.fail(blobs, error)
        return
    for name in names:
        if name.lower().endswith(PARTIAL_SUFFIXES):
            listing.skip(blobs / name, "incomplete download")


def _superseded(file: ScannedFile, newer: Iterable[ScannedFile]) -> Skipped:
    paths = {item.path.name: item for item in newer}
    same = paths.get(file.path.name) or next(iter(paths.values()))
    if (same.device, same.inode) == (file.device, file.inode):
        return Skipped(file.path, f"duplicate of {same.path}")
    return Skipped(file.path, f"older revision of {same.path}")


def _is_complete(files: tuple[ScannedFile, ...]) -> bool:
    shard = Shard.parse(files[0].path.stem)
    return shard is None or len(files) == shard.total
