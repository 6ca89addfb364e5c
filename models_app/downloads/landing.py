"""Where the files of a copied model come to lie on this node.

A model of a Hugging Face cache or of Ollama's store goes into this node's own, where it is the
same model by its name. Any other goes into a folder of MAGI's own, `MAGI_COPY_DIR/MODEL_ID/`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from django.conf import settings
from huggingface_hub.file_download import repo_folder_name

from models_app.downloads.choosing import is_safe
from models_app.downloads.files import SHA256, Digest, Plan, RemoteFile
from models_app.downloads.given import HUB, OLLAMA
from models_app.downloads.hub import link, write_ref
from models_app.downloads.manifest import GivenFile, Manifest
from models_app.downloads.ollama_registry import partial_of, store, write_manifest
from models_app.errors import UnsupportedDownloadError
from models_app.huggingface import hub_cache
from models_app.matching import found_as
from models_app.ollama import Tag
from models_app.scanned import DIRECTORY, HUGGINGFACE
from models_app.scanned import OLLAMA as OLLAMA_STORE

WAITING: Final = ".incomplete"  # of a repo's blob that grows; or whole, until all others are
GROWING: Final = ".part"  # no scan takes either for a model


def plan_of(manifest: Manifest, *, model_id: str, identity: str) -> Plan:
    """Return what is to be fetched, and where to.

    Args:
        model_id, identity: of the model, as this side knows it.

    Raises:
        UnsupportedDownloadError: it would lie outside its folder.
    """
    if identity.startswith(HUB):
        return _into_cache(manifest, identity.split(":", 2)[1])
    if identity.startswith(OLLAMA):
        return _into_store(manifest, found_as(identity).removeprefix(OLLAMA))
    return _into_folder(manifest, settings.MAGI_COPY_DIR / model_id)


def _into_cache(manifest: Manifest, repo: str) -> Plan:
    folder_name = repo_folder_name(repo_id=repo, repo_type="model")
    if not is_safe(folder_name) or "/" in folder_name or not manifest.commit:
        raise _outside(repo)
    folder, commit = hub_cache() / folder_name, manifest.commit
    blobs = [folder / "blobs" / (file.blob or file.sha256) for file in manifest.files]
    files = [
        _remote(index, file, blob, blob.with_name(f"{blob.name}{WAITING}"))
        for index, (file, blob) in enumerate(zip(manifest.files, blobs, strict=True))
    ]

    def place() -> list[Path]:
        links = [
            link(folder, commit, file.name, blob)
            for file, blob in zip(manifest.files, blobs, strict=True)
        ]
        for ref in manifest.refs:
            write_ref(folder, ref, commit)
        return links

    return _plan(files, hub_cache(), HUGGINGFACE, place, commit)


def _into_store(manifest: Manifest, name: str) -> Plan:
    repo, _, tag = name.rpartition(":")
    below = Path(*repo.split("/"), tag)
    if Tag.of_path(below.parts) is None or not is_safe(below.as_posix()):
        raise _outside(name)
    folder = store()
    files = []
    for index, file in enumerate(manifest.files):
        blob = folder / "blobs" / f"sha256-{file.sha256}"
        files.append(_remote(index, file, blob, partial_of(blob)))

    def place() -> list[Path]:
        write_manifest(folder, below, manifest.ollama.encode())
        return [file.blob for file in files if file.is_gguf]

    return _plan(files, folder, OLLAMA_STORE, place)


def _into_folder(manifest: Manifest, folder: Path) -> Plan:
    if any("/" in file.name for file in manifest.files):
        raise _outside(folder.name)
    paths = [folder / file.name for file in manifest.files]
    files = []
    for index, (file, path) in enumerate(zip(manifest.files, paths, strict=True)):
        whole = path if path.exists() else folder / f"{file.sha256}{WAITING}"
        growing = folder / f"{file.sha256}{GROWING}"
        files.append(_remote(index, file, whole, growing))

    def place() -> list[Path]:
        # The first shard makes a model of them, so it is the last one.
        for file, path in reversed(list(zip(files, paths, strict=True))):
            if file.blob != path:
                file.blob.replace(path)
        return paths

    return _plan(files, folder.parent, DIRECTORY, place)


def _remote(index: int, file: GivenFile, blob: Path, partial: Path) -> RemoteFile:
    return RemoteFile(
        name=file.name,
        url=f"/{index}",
        size_bytes=file.size_bytes,
        digest=Digest(SHA256, file.sha256),
        blob=blob,
        partial=partial,
        is_gguf=file.is_gguf,
    )


def _plan(
    files: Sequence[RemoteFile],
    root: Path,
    root_kind: str,
    place: Callable[[], list[Path]],
    commit: str = "",
) -> Plan:
    return Plan(
        files=tuple(files),
        root=root,
        root_kind=root_kind,
        commit=commit,
        note="",
        place=place,
    )


def _outside(name: str) -> UnsupportedDownloadError:
    return UnsupportedDownloadError(f"{name[:100]!r} would lie outside its folder.")
