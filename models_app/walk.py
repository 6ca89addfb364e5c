"""Walk a tree of folders for model files. Nothing is opened here."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from models_app.filename import Shard, split_stem
from models_app.scanned import (
    GONE,
    RootListing,
    ScannedFile,
    os_reason,
    safe_text,
    scanned_file,
    why_unusable,
)

MODEL_SUFFIXES = (".gguf",)
# Of huggingface_hub and LM Studio, of many, and of llama.cpp.
PARTIAL_SUFFIXES = (".incomplete", ".part", ".downloadinprogress")


def walk(
    top: Path,
    listing: RootListing,
    *,
    without: tuple[str, ...] = (),
    suffixes: tuple[str, ...] = MODEL_SUFFIXES,
) -> Iterator[ScannedFile]:
    """Yield the model files below `top`; links to folders are followed once.

    Args:
        listing: takes what cannot be used, with the reason.
        without: how the names of the folders right below `top` begin that are left out.
        suffixes: how the names of model files end, in lower case.
    """
    folders, seen = [str(top)], set()  # text: a Path for each folder doubles the time
    while folders:
        folder = folders.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            listing.fail(Path(folder), error)
            continue
        below = []
        for entry in ordered:
            if _is_folder(entry):
                if folder != str(top) or not entry.name.startswith(without):
                    below.append(entry.path)
            elif (file := _file(entry, listing, suffixes)) is not None:
                yield file
        folders += reversed(below)


def model_sets(files: Iterable[ScannedFile], base: Path) -> dict[str, tuple[ScannedFile, ...]]:
    """Group shards: the path of the first file of each model, relative to `base`."""
    groups: dict[tuple[Path, str, int], list[tuple[int, ScannedFile]]] = {}
    for file in files:
        path = file.path
        shard = Shard.parse(path.stem)
        if shard is None:
            groups[path.parent, path.name, 0] = [(1, file)]
        else:
            key = (path.parent, split_stem(path.name), shard.total)
            groups.setdefault(key, []).append((shard.index, file))
    ordered = (
        tuple(file for _, file in sorted(group, key=lambda item: item[0]))
        for group in groups.values()
    )
    start = len(safe_text(base / "_")) - 1
    return {safe_text(group[0].path)[start:]: group for group in ordered}


def real_path(file: ScannedFile, folders: dict[str, str]) -> Path:
    """Return where the bytes of a file are.

    Args:
        folders: where folders really are, kept between calls: to ask costs a system
            call for each part of a path.
    """
    folder, name = os.path.split(file.path)
    if file.is_link:
        try:
            target = os.readlink(file.path)  # noqa: PTH115
        except OSError:  # it has gone, or is another file by now
            return file.path
        folder, name = os.path.split(os.path.join(folder, target))  # noqa: PTH118
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    path = f"{folders[folder]}/{name}"
    # A link to a link is rare, and has its way to go.
    is_further = file.is_link and os.path.islink(path)  # noqa: PTH114
    return Path(os.path.realpath(path) if is_further else path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, which is reported as a file
        return False


def _file(
    entry: os.DirEntry[str], listing: RootListing, suffixes: tuple[str, ...]
) -> ScannedFile | None:
    """Return a file that may be a model; what else is worth a word is put on the list."""
    name = entry.name.lower()
    if name.endswith(PARTIAL_SUFFIXES):
        listing.skip(Path(entry.path), "incomplete download")
        return None
    is_named_like_a_model = name.endswith(suffixes)
    if not is_named_like_a_model and not entry.is_symlink():
        return None
    path = Path(entry.path)
    try:
        status = entry.stat()
    except OSError as error:  # a link may have led to a folder of models: it is told of
        missing = "broken link" if entry.is_symlink() else GONE
        listing.skip(path, os_reason(error, missing=missing))
        return None
    if not is_named_like_a_model:
        return None
    if reason := why_unusable(path, status):
        listing.skip(path, reason)
        return None
    return scanned_file(path, status, is_link=entry.is_symlink())
