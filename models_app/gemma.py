"""Weights of gemma.cpp: `*.sbs` files, with a tokenizer `*.spm` beside them.

Source: io/blob_store.cc, https://github.com/google/gemma.cpp

They are listed so that people see what lies on their disk. Nothing of ours can run them.
"""

import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from models_app.errors import GGUFError, TruncatedGGUFError
from models_app.filename import parse_filename
from models_app.gguf_info import GGUFInfo
from models_app.scanned import ModelFiles, RootListing, ScannedFile, safe_text

WEIGHTS = ".sbs"
TOKENIZER = ".spm"
SUFFIXES = (WEIGHTS, TOKENIZER)

_PROBLEM = "gemma.cpp weights: llama-server cannot load them"
_MAGIC = b"SBS\n"
_HEADER = struct.Struct("<4sIQ")  # magic, blob count, size of the file in bytes


def is_weights(name: str) -> bool:
    return name.lower().endswith(WEIGHTS)


def is_ours(file: ScannedFile) -> bool:
    return file.path.name.lower().endswith(SUFFIXES)


def list_weights(root: Path, files: Iterable[ScannedFile], listing: RootListing) -> None:
    """Pair weights with the tokenizer of their folder, and account for both."""
    weights, tokenizers = [], dict[Path, list[Path]]()
    for file in filter(is_ours, files):
        if is_weights(file.path.name):
            weights.append(file)
        else:
            tokenizers.setdefault(file.path.parent, []).append(file.path)
    folders = {file.path.parent for file in weights}
    for folder, paths in tokenizers.items():
        reason = "tokenizer" if folder in folders else "tokenizer without weights"
        for path in paths:
            listing.skip(path, reason)
    for file in weights:
        path = file.path
        # Files of 2025 and later may hold their tokenizer, so it is only a warning.
        warnings = () if path.parent in tokenizers else ("no tokenizer (*.spm) beside it",)
        listing.models.append(
            ModelFiles(
                root=root,
                identity=safe_text(Path(os.path.realpath(path))),
                repo_id="",
                folder=str(path.parent),
                files=(file,),
                filename=path.name,
                problem=_PROBLEM,
                warnings=warnings,
            )
        )


def read_weights(path: Path) -> GGUFInfo:
    """Check that a file is what its name says; its folder says more about it than it does.

    The first layout has its header at the beginning. The second has one of no blobs
    there, and its own at the end.

    Raises:
        GGUFError: the magic bytes are wrong.
        TruncatedGGUFError: the file is shorter than its header says.
        OSError: the file cannot be opened or read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(file).st_size
        magic, blob_count, file_bytes = _read_header(path, file, 0)
        if magic != _MAGIC:
            raise GGUFError(path, "not gemma.cpp weights")
        if blob_count == 0:
            magic, blob_count, file_bytes = _read_header(path, file, size - _HEADER.size)
            if magic != _MAGIC:
                raise TruncatedGGUFError(path, "its directory is missing")
    finally:
        os.close(file)
    if size < file_bytes:
        raise TruncatedGGUFError(path, f"{size:,} bytes of {file_bytes:,}")
    return _info_of(path.parent.name, size, blob_count)


def _read_header(path: Path, file: int, offset: int) -> tuple[bytes, int, int]:
    if offset < 0:
        raise OSError(errno.EINVAL, "Shrank while it was read")
    raw = os.pread(file, _HEADER.size, offset)
    if len(raw) < _HEADER.size:
        raise TruncatedGGUFError(path, "its header does not end")
    magic, blob_count, file_bytes = _HEADER.unpack(raw)
    return magic, blob_count, file_bytes


def _info_of(folder: str, size: int, blob_count: int) -> GGUFInfo:
    """Return what the name of the folder says, for file names that say less: 2b-it.sbs."""
    parts = parse_filename(folder)
    family = parts.family.removesuffix("cpp")  # gemma-gemmacpp-2b-it-v3
    name = family + parts.version if "gemma" in family else "gemma"
    return GGUFInfo(
        version=0,
        is_big_endian=False,
        file_size=size,
        metadata={
            "general.name": name,
            "general.size_label": parts.size_text.replace("p", "."),
        },
        array_lengths={},
        tensor_count=blob_count,
        parameter_count=0,
        tensor_types={},
        data_end=size,
    )
