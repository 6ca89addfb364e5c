"""Which files of a repo are one model: its shards, in one quantization, and its projector."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from models_app.errors import NoQuantError, UnsupportedDownloadError
from models_app.filename import Shard, parse_filename, split_stem

USUAL: Final = "Q4_K_M"
_USUAL_BITS: Final = 4.85
_MIX_BITS: Final = {
    "S": 0.58, "M": 0.85, "L": 1.0, "XL": 1.1, "XXL": 1.2, "XS": 0.3, "XXS": 0.06, "NL": 0.5,
}  # fmt: skip
_NOT_K_MORE: Final = 0.3  # a quantization of another kind is further off by so much
_PROJECTORS: Final = ("F16", "BF16", "Q8_0", "F32")  # as models_app/projectors.py likes them
_MAX_PATH: Final = 500
_MAX_NAME: Final = 255
_LISTED: Final = 30


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file as a repo lists it."""

    path: str
    size_bytes: int | None = None
    sha256: str = ""  # of a large file
    git_sha1: str = ""  # of a small one, which lies in git itself

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of a repo, in one quantization."""

    quantization: str  # empty where no name says it
    files: tuple[RepoFile, ...]  # its shards, in order
    projector: RepoFile | None = None
    shard_count: int = 1

    @property
    def is_whole(self) -> bool:
        return len(self.files) == self.shard_count

    @property
    def all_files(self) -> tuple[RepoFile, ...]:
        return (*self.files, self.projector) if self.projector else self.files

    @property
    def size_bytes(self) -> int | None:
        """All shards with the projector; None where the hub does not say."""
        sizes = [file.size_bytes for file in self.all_files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def is_safe(path: str) -> bool:
    """Whether a path that a hub tells of stays in its folder, on any disk."""
    parts = path.split("/")
    return (
        0 < len(path) <= _MAX_PATH
        and path.isprintable()
        and "\\" not in path
        and all(
            part not in ("", ".", "..") and len(part.encode()) <= _MAX_NAME for part in parts
        )
    )


def variants(files: Iterable[RepoFile]) -> list[Variant]:
    """Return the models of a repo, smallest first; what is no model for llama-server is out."""
    groups: dict[tuple[str, str], list[RepoFile]] = {}
    projectors = []
    for file in files:
        if not is_safe(file.path) or not file.name.lower().endswith(".gguf"):
            continue
        name = parse_filename(file.name)
        if name.is_projector:
            projectors.append(file)
        elif not name.is_imatrix and not name.is_adapter:
            groups.setdefault((_folder(file), split_stem(file.name)), []).append(file)
    found = [_variant(members, projectors) for members in groups.values()]
    return sorted(found, key=lambda one: (bits_of(one.quantization), one.files[0].path))


def choose(found: Sequence[Variant], asked: str, repo: str) -> tuple[Variant, str]:
    """Return the variant that is asked for, and what was decided where nothing was said.

    Args:
        asked: a quantization, the end of a file's name, or the name; empty: the usual one.

    Raises:
        NoQuantError: there are others only.
        UnsupportedDownloadError: there is no model for llama-server, or not all of it.
    """
    if not found:
        msg = f"{repo} has no GGUF model. Look for one whose name ends with -GGUF."
        raise UnsupportedDownloadError(msg)
    if asked:
        fitting = [
            one
            for one in found
            if is_meant(asked, quantization=one.quantization, filename=one.files[0].name)
        ]
        if not fitting:
            msg = f"{repo} has no {asked}. It has {_names(found)}."
            raise NoQuantError(msg)
        chosen, note = min(fitting, key=_plainness), ""
    else:
        chosen = min(found, key=lambda one: (not one.is_whole, _distance(one), _plainness(one)))
        note = "" if chosen.quantization == USUAL else _why(chosen, found)
    if not chosen.is_whole:
        others = [one for one in found if one.is_whole]
        advice = f"Choose another: {_names(others)}." if others else "Look for another repo."
        msg = (
            f"{repo} has {len(chosen.files)} of the {chosen.shard_count} files of "
            f"{chosen.quantization or chosen.files[0].name}. {advice}"
        )
        raise UnsupportedDownloadError(msg)
    return chosen, note


def bits_of(quantization: str) -> float:
    """Return about how many bits a weight takes; 99 of what is no quantization.

    >>> bits_of("Q4_K_M"), bits_of("BF16"), bits_of("Q8_0")
    (4.85, 16.0, 8.5)
    """
    match = re.match(r"(?:I|T)?Q(\d)|(?:B|MX|NV)?FP?(\d+)", quantization)
    if match is None:
        return 99.0
    digits: str = match[1] or match[2]
    bits = float(digits)
    if not match[1]:
        return bits + 0.25 if bits < 8 else bits
    mixes = [_MIX_BITS[part] for part in quantization.split("_")[1:] if part in _MIX_BITS]
    if mixes:
        return round(bits + mixes[-1], 2)
    return bits + (0.6 if quantization.endswith("_K") else 1.0 if "_1" in quantization else 0.5)


def _variant(members: list[RepoFile], projectors: Sequence[RepoFile]) -> Variant:
    members.sort(key=lambda file: file.name)
    first = members[0]
    shard = Shard.parse(PurePosixPath(first.name).stem)
    # In a folder for each quantization the files' own names may not say it.
    quantization = parse_filename(first.name).quantization or next(
        (found for part in reversed(_folder(first).split("/"))
         if (found := parse_filename(part).quantization)), "",
    )  # fmt: skip
    return Variant(
        quantization=quantization,
        files=tuple(members),
        projector=_projector(first, projectors),
        shard_count=shard.total if shard else 1,
    )


def _projector(model: RepoFile, projectors: Sequence[RepoFile]) -> RepoFile | None:
    """Return the projector in the model's folder, or in one around it."""
    parts = parse_filename(model.name)
    fitting = []
    for projector in projectors:
        name = parse_filename(projector.name)
        if name.size_params and name.size_params != parts.size_params:
            continue
        folder = _folder(projector)
        if folder and not f"{_folder(model)}/".startswith(f"{folder}/"):
            continue
        known = name.quantization in _PROJECTORS
        rank = _PROJECTORS.index(name.quantization) if known else len(_PROJECTORS)
        fitting.append((-len(folder), rank, projector.path, projector))
    return min(fitting)[-1] if fitting else None


def _folder(file: RepoFile) -> str:
    parent = str(PurePosixPath(file.path).parent)
    return "" if parent == "." else parent


def is_meant(asked: str, *, quantization: str, filename: str) -> bool:
    """Whether what stands behind a repo's `:` is that file: its quantization, its name, or
    the end of that.

    Args:
        filename: of a shard, the first one's.
    """
    wanted = asked.lower().removesuffix(".gguf")
    stem = split_stem(filename).lower()
    return (
        quantization.lower() in (wanted, wanted.replace("fp", "f", 1))
        or stem == wanted
        or any(stem.endswith(f"{mark}{wanted}") for mark in "-_.")
    )


def _distance(one: Variant) -> float:
    if one.quantization == USUAL:
        return -1
    other_kind = 0.0 if "_K" in one.quantization else _NOT_K_MORE
    return abs(bits_of(one.quantization) - _USUAL_BITS) + other_kind


def _plainness(one: Variant) -> tuple[bool, int, str]:
    path = one.files[0].path
    return not one.is_whole, len(path), path


def _why(chosen: Variant, found: Sequence[Variant]) -> str:
    name = chosen.quantization or chosen.files[0].name
    if len(found) == 1:
        return f"{name}: the repo has no other."
    return f"{name}: the nearest to {USUAL}, which the repo has not. It has {_names(found)}."


def _names(found: Sequence[Variant]) -> str:
    names = list(dict.fromkeys(one.quantization or one.files[0].name for one in found))
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
