"""What one node tells another of the files of a model, before it sends them."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from models_app.downloads.choosing import is_safe
from models_app.errors import UnsupportedDownloadError

MAX_FILES: Final = 2000
MAX_REFS: Final = 100
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BLOB: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?")
_COMMIT: Final = re.compile(r"(?:[0-9a-f]{7,64})?")


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file of a model. It is asked for by its place in the list, and never by a path."""

    name: str  # its path in its repo, the digest of a layer, or its name
    size_bytes: int
    sha256: str
    blob: str = ""  # in a Hugging Face cache: what its blob is called
    is_gguf: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a model: its shards in order, then its projector."""

    files: tuple[GivenFile, ...]
    commit: str = ""  # of a repo's files
    refs: tuple[str, ...] = ()  # branches and tags that stand at that commit
    ollama: str = ""  # of an Ollama model: its own manifest, as it is written

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of_json(cls, raw: bytes) -> Self:
        """Read what another node tells; nothing in it leads out of a folder.

        Raises:
            UnsupportedDownloadError: it is no manifest.
        """
        try:
            data = json.loads(raw)
            files = tuple(_file(item) for item in data["files"])
            refs = tuple(_checked(ref, is_safe(ref)) for ref in data["refs"])
            commit = _checked(data["commit"], _COMMIT.fullmatch(data["commit"]))
            ollama = _checked(data["ollama"], isinstance(data["ollama"], str))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            msg = "What the other node tells of its files cannot be used. Is it of our version?"
            raise UnsupportedDownloadError(msg) from error
        if not 0 < len(files) <= MAX_FILES or len(refs) > MAX_REFS:
            msg = f"The other node tells of {len(files)} files; no model has so many, or none."
            raise UnsupportedDownloadError(msg)
        return cls(files, commit, refs, ollama)


def _file(item: Any) -> GivenFile:
    name, size, sha256, blob = (
        item["name"], item["size_bytes"], item["sha256"], item["blob"],
    )  # fmt: skip
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    # A blob of 64 digits is named by its hash; one of 40, by git's.
    is_blob = _BLOB.fullmatch(blob) and (len(blob) != 64 or blob == sha256)
    return GivenFile(
        name=_checked(name, is_safe(name)),
        size_bytes=_checked(size, is_size),
        sha256=_checked(sha256, _SHA256.fullmatch(sha256)),
        blob=_checked(blob, is_blob),
        is_gguf=_checked(item["is_gguf"], isinstance(item["is_gguf"], bool)),
    )


def _checked(value: Any, is_right: object) -> Any:
    if not is_right:
        msg = f"{str(value)[:60]!r} is none"
        raise ValueError(msg)
    return value
