"""Scan roots in, models out, and a reason for every file that is none."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from models_app.errors import GGUFError, ScanRootError
from models_app.filename import DEFAULT_THINKING_WORDS, Shard, parse_filename
from models_app.found import FoundModel, make_found_model
from models_app.gemma import is_weights, read_weights
from models_app.gguf_info import GGUFInfo
from models_app.known import KnownFile, KnownSkip
from models_app.projectors import Projector, choose_projector
from models_app.readahead import HeaderReader
from models_app.scanned import (
    DIRECTORY,
    GEMMA,
    GONE,
    HUGGINGFACE,
    OLLAMA,
    ModelFiles,
    RootListing,
    RootSpec,
    ScannedFile,
    Skipped,
    os_reason,
    safe_text,
)
from models_app.scanroots import detect_kind, list_root
from models_app.walk import real_path

__all__ = [
    "DEFAULT_THINKING_WORDS", "DIRECTORY", "GEMMA", "HUGGINGFACE", "OLLAMA", "Discovery",
    "FoundModel", "KnownFile", "KnownSkip", "RootSpec", "Skipped", "detect_kind", "discover",
]  # fmt: skip

PROJECTOR = "projector"  # the reason that has a use

OnFile = Callable[[Path | str, int], None]
OnModel = Callable[[FoundModel], None]


@dataclass(slots=True)
class Discovery:
    """What a scan found. Each file seen is in one place: a model's, or `skipped`."""

    models: list[FoundModel] = field(default_factory=list)  # those not given to `on_model`
    unchanged: list[str] = field(default_factory=list)  # identities
    skipped: list[Skipped] = field(default_factory=list)
    root_errors: list[tuple[Path, str]] = field(default_factory=list)  # folders not looked into
    known_skips: dict[str, KnownSkip] = field(
        default_factory=dict
    )  # by path, for the next scan
    is_settled: bool = True  # no file failed to be read that may be readable the next time
    files_seen: int = 0
    seconds: float = 0.0


def discover(
    roots: Sequence[RootSpec],
    *,
    on_file: OnFile | None = None,
    on_model: OnModel | None = None,
    known: Mapping[str, KnownFile] | None = None,
    known_skips: Mapping[str, KnownSkip] | None = None,
    thinking_words: Sequence[str] = DEFAULT_THINKING_WORDS,
) -> Discovery:
    """Find the models below `roots`. Only reads; no file and no folder stops it.

    Args:
        on_file: called with each file and how many were seen so far.
        on_model: called with each model that is new or has changed; what has been found
            of thousands need not be held at once.
        known: by identity, what the last scan saw; such a file is not opened again.
        known_skips: the same of files that are no models: the last scan's `known_skips`.
        thinking_words: as parse_filename takes them.
    """
    started = time.monotonic()
    scan = _Scan(on_file, on_model, known or {}, known_skips or {}, tuple(thinking_words))
    for spec in roots:
        try:
            listing = list_root(spec)
        except ScanRootError as error:
            scan.found.root_errors.append((error.path, error.reason))
            continue
        scan.look_at(listing)
    scan.found.seconds = time.monotonic() - started
    return scan.found


@dataclass(frozen=True, slots=True)
class _Candidate:
    group: ModelFiles
    info: GGUFInfo | None  # None while the file looks as it did last time


class _Scan:
    """One pass, a folder at a time: its files are looked at, then projectors are paired."""

    def __init__(
        self,
        on_file: OnFile | None,
        on_model: OnModel | None,
        known: Mapping[str, KnownFile],
        known_skips: Mapping[str, KnownSkip],
        thinking_words: tuple[str, ...],
    ) -> None:
        self.found = Discovery()
        self.on_file = on_file
        self.on_model = on_model or self.found.models.append
        self.known = known
        self.known_skips = known_skips
        self.thinking_words = thinking_words
        self.headers = HeaderReader([])
        self.first_paths: dict[str | tuple[int, int], Path] = {}  # by identity, and by inode
        self.real_folders: dict[str, str] = {}
        # Of the folder that is looked at:
        self.candidates: list[_Candidate] = []
        self.projectors: list[Projector] = []

    def look_at(self, listing: RootListing) -> None:
        self.found.root_errors += listing.errors
        for skipped in listing.skipped:
            self._skip(skipped.path, skipped.reason)
        folders: dict[str, list[ModelFiles]] = {}
        # Known ones first: a second name for a file does not take its row from it.
        for group in sorted(listing.models, key=lambda group: group.identity not in self.known):
            if self._is_first(group):
                folders.setdefault(group.folder, []).append(group)
        listing.models.clear()
        with HeaderReader(self._to_be_read(folders.values())) as self.headers:
            for name in list(folders):
                self.candidates, self.projectors = [], []
                for group in folders.pop(name):  # and let go of, as there may be thousands
                    self._look_at_model(group)
                for candidate in self.candidates:
                    self._pair(candidate)

    def _is_first(self, group: ModelFiles) -> bool:
        """Whether no other name of this file came before; if one did, it is skipped."""
        first = group.files[0]
        inode = (first.device, first.inode)
        if path := self.first_paths.get(inode) or self.first_paths.get(group.identity):
            for file in group.files:
                self._skip(group.manifest or file.path, f"duplicate of {path}")
            return False
        path = group.reported_path
        self.first_paths[inode] = self.first_paths[group.identity] = path
        return True

    def _to_be_read(self, folders: Iterable[list[ModelFiles]]) -> Iterator[Path]:
        for group in chain.from_iterable(folders):
            for file in group.files:
                known = self.known.get(group.identity) or self.known_skips.get(
                    safe_text(file.path)
                )
                is_known = known is not None and known.is_same_file(file)
                if not is_known and not is_weights(file.path.name):
                    yield file.path

    def _look_at_model(self, group: ModelFiles) -> None:
        first, path = group.files[0], group.reported_path
        shard = Shard.parse(first.path.stem)
        if shard is not None and shard.index != 1:
            self._skip_shards(group.files)
            return
        known = self.known.get(group.identity)
        if known is not None and known.is_same_file(first):
            self.candidates.append(_Candidate(group, None))
            return
        skip = self.known_skips.get(safe_text(path))
        if skip is not None and skip.is_same_file(first) and skip.reason == PROJECTOR:
            self._skip_projector(group, skip.projection_dim)
            self._skip_shards(group.files[1:])
            return
        info = self._read(first, path)
        if info is None:
            self._skip_shards(group.files[1:])
        elif reason := _why_no_model(group.filename, info):
            if reason == PROJECTOR:
                self._skip_projector(group, info.projection_dim)
            else:
                self._skip_read(first, path, reason)
            self._skip_shards(group.files[1:])
        else:
            self.candidates.append(_Candidate(group, info))

    def _pair(self, candidate: _Candidate) -> None:
        """Give a model its projector, unless nothing about it has changed."""
        group, first = candidate.group, candidate.group.files[0]
        signature = KnownFile.of_group(group, self.projectors)
        if candidate.info is None and signature == self.known[group.identity]:
            self._count(group.reported_path)
            self._skip_shards(group.files[1:])
            self.found.unchanged.append(group.identity)
            return
        info = candidate.info or self._read(first, group.reported_path)
        if info is None:
            self._skip_shards(group.files[1:])
            return
        self._count(group.reported_path)
        headers = self._read_shards(group, info)
        projector = group.projector_path or choose_projector(
            self.projectors, group.filename, info
        )
        self.on_model(
            make_found_model(
                group,
                headers,
                blob_path=real_path(group.files[0], self.real_folders),
                projector_path=projector,
                signature=signature,
                thinking_words=self.thinking_words,
            )
        )

    def _skip_projector(self, group: ModelFiles, projection_dim: int | None) -> None:
        projector = Projector(group.files[0].path, projection_dim)
        self.projectors.append(projector)
        self._skip_read(group.files[0], group.reported_path, PROJECTOR, projection_dim)

    def _read_shards(self, group: ModelFiles, info: GGUFInfo) -> dict[int, GGUFInfo]:
        """Return the headers by number of shard; one that cannot be read is left out."""
        headers = {1: info}
        for file in group.files[1:]:
            shard = Shard.parse(file.path.stem)
            header = self._read(file, file.path)
            if header is not None and shard is not None:
                headers[shard.index] = header
                self._skip_shards([file])
        return headers

    def _read(self, file: ScannedFile, path: Path) -> GGUFInfo | None:
        """Read a header; a file that has none is skipped with the reason, as `path`."""
        known = self.known_skips.get(safe_text(path))
        if known is not None and known.is_same_file(file):
            self._skip_read(file, path, known.reason)
            return None
        try:
            if is_weights(file.path.name):
                return read_weights(file.path)
            return self.headers.read(file.path)
        except GGUFError as error:
            self._skip_read(file, path, error.reason)
        except OSError as error:
            self._skip(path, os_reason(error, missing=GONE))
            self.found.is_settled = False
        return None

    def _skip_shards(self, files: Sequence[ScannedFile]) -> None:
        for file in files:
            known = self.known_skips.get(safe_text(file.path))
            shard = Shard.parse(file.path.stem)
            if known is not None and known.is_same_file(file):
                self._skip_read(file, file.path, known.reason)
            elif shard is not None:
                self._skip(file.path, f"shard {shard.index} of {shard.total}")

    def _skip_read(
        self, file: ScannedFile, path: Path, reason: str, projection_dim: int | None = None
    ) -> None:
        """Skip a file for what is in it, which need not be read again while it is as it is."""
        self.found.known_skips[safe_text(path)] = KnownSkip(
            file.device, file.inode, file.size, file.mtime_ns, reason, projection_dim
        )
        self._skip(path, reason)

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
        PROJECTOR: info.is_projector or parts.is_projector,
        "adapter": info.is_adapter or (by_name and parts.is_adapter and not info.has_tokenizer),
        "imatrix": info.is_imatrix or (by_name and parts.is_imatrix),
        "vocabulary only": info.is_vocab_only,
        "no tensors": info.tensor_count == 0 and not info.is_split,
        f"shard {info.split_no + 1} of {info.split_count}": (
            info.split_no > 0 and parts.shard is None
        ),
    }
    return next((reason for reason, applies in answers.items() if applies), "")
