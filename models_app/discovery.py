"""Scan roots in, models out, and a reason for every file that is none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models_app.errors import GGUFError, ScanRootError
from models_app.filename import Shard, parse_filename
from models_app.found import FoundModel, KnownFile, make_found_model
from models_app.gguf import read_gguf
from models_app.gguf_info import GGUFInfo
from models_app.projectors import Projector, choose_projector
from models_app.scanroots import (
    DIRECTORY,
    HUGGINGFACE,
    ModelFiles,
    RootListing,
    RootSpec,
    ScannedFile,
    Skipped,
    detect_kind,
    list_root,
    os_reason,
)

__all__ = [
    "DIRECTORY", "HUGGINGFACE", "Discovery", "FoundModel", "KnownFile", "RootSpec", "Skipped",
    "detect_kind", "discover",
]  # fmt: skip

OnFile = Callable[[Path, int], None]


@dataclass(slots=True)
class Discovery:
    """What a scan found. Each file seen is in one place: a model's, or `skipped`."""

    models: list[FoundModel] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)  # identities
    skipped: list[Skipped] = field(default_factory=list)
    root_errors: list[tuple[Path, str]] = field(default_factory=list)  # folders not looked into
    files_seen: int = 0
    seconds: float = 0.0


def discover(
    roots: Sequence[RootSpec],
    *,
    on_file: OnFile | None = None,
    known: Mapping[str, KnownFile] | None = None,
) -> Discovery:
    """Find the models below `roots`. Only reads; no file and no folder stops it.

    Args:
        on_file: called with each file and how many were seen so far.
        known: by identity, what the last scan saw; such a file is not opened again.
    """
    started = time.monotonic()
    scan = _Scan(on_file, known or {})
    for spec in roots:
        try:
            listing = list_root(spec)
        except ScanRootError as error:
            scan.found.root_errors.append((error.path, error.reason))
            continue
        scan.look_at(listing)
    scan.finish()
    scan.found.seconds = time.monotonic() - started
    return scan.found


@dataclass(frozen=True, slots=True)
class _Candidate:
    group: ModelFiles
    info: GGUFInfo | None  # None while the file looks as it did last time


class _Scan:
    """One pass: first every file is looked at, then projectors and models are paired."""

    def __init__(self, on_file: OnFile | None, known: Mapping[str, KnownFile]) -> None:
        self.found = Discovery()
        self.on_file = on_file
        self.known = known
        self.candidates: list[_Candidate] = []
        self.projectors: dict[str, list[Projector]] = {}  # by folder
        self.first_paths: dict[str | tuple[int, int], Path] = {}  # by identity, and by inode

    def look_at(self, listing: RootListing) -> None:
        self.found.root_errors += listing.errors
        for skipped in listing.skipped:
            self._skip(skipped.path, skipped.reason)
        for group in listing.models:
            self._look_at_model(group)

    def finish(self) -> None:
        for candidate in self.candidates:
            self._pair(candidate)

    def _look_at_model(self, group: ModelFiles) -> None:
        first = group.files[0]
        inode = (first.device, first.inode)
        if path := self.first_paths.get(inode) or self.first_paths.get(group.identity):
            for file in group.files:
                self._skip(file.path, f"duplicate of {path}")
            return
        self.first_paths[inode] = self.first_paths[group.identity] = first.path

        shard = Shard.parse(first.path.stem)
        if shard is not None and shard.index != 1:
            self._skip_shards(group.files)
            return
        known = self.known.get(group.identity)
        if known is not None and known.is_same_file(first):
            self.candidates.append(_Candidate(group, None))
            return
        info = self._read(first)
        if info is None:
            self._skip_shards(group.files[1:])
        elif reason := _why_no_model(first.path.name, info):
            self._skip(first.path, reason)
            self._skip_shards(group.files[1:])
            if reason == "projector":
                projector = Projector(first.path, info.projection_dim)
                self.projectors.setdefault(group.folder, []).append(projector)
        else:
            self.candidates.append(_Candidate(group, info))

    def _pair(self, candidate: _Candidate) -> None:
        """Give a model its projector, unless nothing about it has changed."""
        group, first = candidate.group, candidate.group.files[0]
        projectors = self.projectors.get(group.folder, [])
        if candidate.info is None and self._is_unchanged(group, projectors):
            self._count(first.path)
            self._skip_shards(group.files[1:])
            self.found.unchanged.append(group.identity)
            return
        info = candidate.info or self._read(first)
        if info is None:
            self._skip_shards(group.files[1:])
            return
        self._count(first.path)
        infos, missing = self._read_shards(group, info)
        projector = choose_projector(projectors, first.path.name, info)
        self.found.models.append(make_found_model(group, infos, missing, projector))

    def _is_unchanged(self, group: ModelFiles, projectors: Sequence[Projector]) -> bool:
        known = self.known[group.identity]
        paths = {str(projector.path) for projector in projectors}
        return (
            known.file_path == str(group.files[0].path)
            and known.size_bytes == sum(file.size for file in group.files)
            and (known.projector_path in paths if known.projector_path else not paths)
        )

    def _read_shards(
        self, group: ModelFiles, info: GGUFInfo
    ) -> tuple[list[GGUFInfo], tuple[int, ...]]:
        """Return the headers of all shards, and the numbers of those that are missing."""
        first = Shard.parse(group.files[0].path.stem)
        if first is None:
            return [info], ()
        infos, there = [info], {1}
        for file in group.files[1:]:
            shard = Shard.parse(file.path.stem)
            header = self._read(file)
            if header is not None and shard is not None:
                infos.append(header)
                there.add(shard.index)
                self._skip_shards([file])
        missing = (index for index in range(1, first.total + 1) if index not in there)
        return infos, tuple(missing)

    def _read(self, file: ScannedFile) -> GGUFInfo | None:
        """Read a header; a file that has none is skipped with the reason."""
        try:
            return read_gguf(file.path)
        except GGUFError as error:
            self._skip(file.path, error.reason)
        except OSError as error:
            self._skip(file.path, os_reason(error))
        return None

    def _skip_shards(self, files: Sequence[ScannedFile]) -> None:
        for file in files:
            shard = Shard.parse(file.path.stem)
            if shard is not None:
                self._skip(file.path, f"shard {shard.index} of {shard.total}")

    def _skip(self, path: Path, reason: str) -> None:
        self.found.skipped.append(Skipped(path, reason))
        self._count(path)

    def _count(self, path: Path) -> None:
        self.found.files_seen += 1
        if self.on_file is not None:
            self.on_file(path, self.found.files_seen)


def _why_no_model(filename: str, info: GGUFInfo) -> str:
    """Return why a readable GGUF file is no model; empty if it is one."""
    parts = parse_filename(filename)
    by_name = not info.general_type  # older files do not say what they are
    answers = {
        "projector": info.is_projector or parts.is_projector,
        "adapter": info.is_adapter or (by_name and parts.is_adapter and not info.has_tokenizer),
        "imatrix": info.is_imatrix or (by_name and parts.is_imatrix),
        "vocabulary only": info.is_vocab_only,
        "no tensors": info.tensor_count == 0 and not info.is_split,
        f"shard {info.split_no + 1} of {info.split_count}": (
            info.split_no > 0 and parts.shard is None
        ),
    }
    return next((reason for reason, applies in answers.items() if applies), "")
