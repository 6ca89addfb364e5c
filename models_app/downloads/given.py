"""Which files a model has on this node, as another node is told of them."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from huggingface_hub.file_download import repo_folder_name

from models_app.downloads.manifest import MAX_REFS, GivenFile, Manifest
from models_app.errors import UnsupportedDownloadError
from models_app.matching import found_as
from models_app.models import DiscoveredModel
from models_app.ollama import MAX_MANIFEST_BYTES
from models_app.scanned import read_small_file
from models_app.validation import CHUNK_BYTES, sha256_named, shard_paths

HUB: Final = "hf:"
OLLAMA: Final = "ollama:"
_BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_GGUF_LAYERS: Final = ("model", "projector", "adapter")
_LAYER: Final = "application/vnd.ollama.image."
_TOPS: Final = ("manifests-v2", "manifests")  # a tag in the first hides its old manifest

_hashes: dict[tuple[int, int, int, int], str] = {}  # by device, inode, size and time


@dataclass(frozen=True, slots=True)
class Given:
    """Files, and what is told of them; a file's sha256 is empty until it is reckoned."""

    paths: tuple[Path, ...]
    manifest: Manifest

    def hashed(self, on_bytes: Callable[[], None]) -> Manifest:
        """Return the manifest with all hashes.

        A blob's name says its hash; other files are read, once for as long as this process
        lives and the file looks as it did.

        Args:
            on_bytes: called now and then; what it raises ends it.

        Raises:
            OSError: a file cannot be read.
        """
        files = [
            file if file.sha256 else replace(file, sha256=_sha256(path, on_bytes))
            for path, file in zip(self.paths, self.manifest.files, strict=True)
        ]
        return replace(self.manifest, files=tuple(files))


def given_of(model: DiscoveredModel) -> Given:
    """Return the files of a model, with the paths that it has on this node.

    Raises:
        UnsupportedDownloadError: they are none that another node could take.
        OSError: they cannot be looked at.
    """
    if model.identity.startswith(HUB):
        return _of_repo(model)
    if model.identity.startswith(OLLAMA):
        return _of_tag(model)
    paths = _paths(model)
    return Given(paths, Manifest(tuple(_file(path, path.name) for path in paths)))


def _paths(model: DiscoveredModel) -> tuple[Path, ...]:
    projector = [Path(model.projector_path)] if model.projector_path else []
    return (*shard_paths(model), *projector)


def _of_repo(model: DiscoveredModel) -> Given:
    paths, snapshot = _paths(model), _snapshot(model)
    files = []
    for path in paths:
        try:  # a projector may lie in another commit's folder
            name = Path(*path.relative_to(snapshot.parent).parts[1:]).as_posix()
        except ValueError as error:
            msg = f"{model.model_id} lies in several folders of its cache. Fetch it there anew."
            raise UnsupportedDownloadError(msg) from error
        blob = path.resolve().name
        files.append(
            replace(_file(path, name), blob=blob if _BLOB_NAME.fullmatch(blob) else "")
        )
    refs = _refs(snapshot.parent.parent / "refs", snapshot.name)
    return Given(paths, Manifest(tuple(files), commit=snapshot.name, refs=tuple(refs)))


def _snapshot(model: DiscoveredModel) -> Path:
    """Return the folder of the commit that a model of a cache lies in."""
    repo = repo_folder_name(repo_id=model.identity.split(":", 2)[1], repo_type="model")
    before, marker, inside = model.file_path.partition(f"/{repo}/snapshots/")
    return Path(f"{before}{marker}{inside.partition('/')[0]}")


def _refs(folder: Path, commit: str) -> list[str]:
    """Return the branches and tags of a repo that stand at a commit."""
    found = []
    for path in sorted(folder.rglob("*"))[: 10 * MAX_REFS]:
        if path.is_file() and read_small_file(path, 200).decode("utf-8", "replace") == commit:
            found.append(path.relative_to(folder).as_posix())
    return found[:MAX_REFS]


def _of_tag(model: DiscoveredModel) -> Given:
    """Return the blobs of a tag of Ollama's, its template and its licence with them."""
    store = Path(model.file_path).parent.parent
    name = found_as(model.identity).removeprefix(OLLAMA)
    below = Path(*name.rpartition(":")[0].split("/"), name.rpartition(":")[2])
    path = next((store / top / below for top in _TOPS if (store / top / below).exists()), None)
    if path is None:
        msg = f"Ollama's store has no manifest of {name} any more. Rescan."
        raise UnsupportedDownloadError(msg)
    raw = read_small_file(path, MAX_MANIFEST_BYTES)
    layers = _layers(raw, name)
    digests = {digest: kind for kind, digest in reversed(layers)}
    paths = tuple(store / "blobs" / f"sha256-{digest}" for digest in digests)
    files = [
        GivenFile(
            name=f"sha256-{digest}",
            size_bytes=path.stat().st_size,
            sha256=digest,
            is_gguf=kind.removeprefix(_LAYER) in _GGUF_LAYERS,
        )
        for path, (digest, kind) in zip(paths, digests.items(), strict=True)
    ]
    return Given(paths, Manifest(tuple(files), ollama=raw.decode()))


def _layers(raw: bytes, name: str) -> Sequence[tuple[str, str]]:
    """Return the type and the digest of each layer that a manifest lists."""
    try:
        data: Any = json.loads(raw)
        listed = [*data["layers"], *([data["config"]] if data.get("config") else [])]
        return [
            (str(layer["mediaType"]), _DIGEST.fullmatch(layer["digest"])[1])  # type: ignore[index]
            for layer in listed
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = (
            f"The manifest of {name} is none that can be copied (it may be a list of several). "
            "Fetch it there: manage.py pull."
        )
        raise UnsupportedDownloadError(msg) from error


def _file(path: Path, name: str) -> GivenFile:
    return GivenFile(
        name=name,
        size_bytes=path.stat().st_size,
        sha256=sha256_named(path.resolve()) or "",
    )


def _sha256(path: Path, on_bytes: Callable[[], None]) -> str:
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _hashes:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                on_bytes()
                digest.update(chunk)
        _hashes[key] = digest.hexdigest()
    return _hashes[key]
