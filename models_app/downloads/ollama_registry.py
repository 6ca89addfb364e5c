"""Ollama's registry: what a name stands for, and where Ollama's store keeps it.

Source: https://github.com/ollama/ollama, server/download.go and manifest/manifest.go; the
registry speaks the OCI distribution protocol, https://github.com/opencontainers/distribution-spec
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
from django.conf import settings

from models_app.downloads.control import Control, TryAgainError
from models_app.downloads.files import SHA256, Digest, Plan, RemoteFile
from models_app.downloads.http import (
    RETRIED,
    after_s,
    make_client,
    opened,
    read_text,
    without_user,
)
from models_app.downloads.hub import require_online
from models_app.downloads.references import Reference
from models_app.errors import GatedError, UnknownReferenceError, UnsupportedDownloadError
from models_app.ollama import MAX_MANIFEST_BYTES
from models_app.scanned import OLLAMA

HOST: Final = "registry.ollama.ai"  # its folder in a store, whichever mirror it came from
MAX_SMALL_BYTES: Final = 16 * 2**20  # of a template, a licence, parameters
MAX_LAYERS: Final = 100

_IMAGE = "application/vnd.ollama.image."
_MODEL = f"{_IMAGE}model"
_GGUF = (_MODEL, f"{_IMAGE}projector", f"{_IMAGE}adapter")
_TENSOR = f"{_IMAGE}tensor"
_ACCEPT = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def store() -> Path:
    """Return Ollama's store, as Ollama finds it."""
    if value := os.environ.get("OLLAMA_MODELS"):
        return Path(value).expanduser()
    return Path.home() / ".ollama" / "models"


def gated_text(name: str) -> str:
    return (
        f"Ollama's registry does not give {name} to strangers. Pull it with `ollama pull "
        f"{name}`, signed in, and rescan."
    )


def ollama_plan(reference: Reference, control: Control) -> Plan:
    """Return what is to be fetched of a name in Ollama's registry.

    Raises:
        UnknownReferenceError, GatedError, OfflineError, UnavailableError
        UnsupportedDownloadError: it has no model for llama-server.
    """
    require_online(str(reference))
    base = f"{settings.MAGI_OLLAMA_REGISTRY}/v2/{reference.repo}"
    raw = control.patiently(
        lambda: _manifest(f"{base}/manifests/{reference.tag}", reference, control),
        without_user(settings.MAGI_OLLAMA_REGISTRY),
    )
    layers = _layers(raw, str(reference))
    folder = store()
    files = tuple(_remote(base, folder, layer, str(reference)) for layer in layers)
    models = [file.blob for file, layer in zip(files, layers, strict=True)
              if layer["mediaType"] == _MODEL]  # fmt: skip
    if not models:
        reason = (
            "safetensors only" if any(_is_tensor(layer) for layer in layers) else "no model"
        )
        msg = f"{reference} has {reason} in it: nothing for llama-server. Try another tag."
        raise UnsupportedDownloadError(msg)

    def place() -> list[Path]:
        write_manifest(folder, Path(HOST, *reference.repo.split("/"), reference.tag), raw)
        return models

    return Plan(files=files, root=folder, root_kind=OLLAMA, commit="", note="", place=place)


def _manifest(url: str, reference: Reference, control: Control) -> bytes:
    with (
        make_client() as client,
        opened(client, url, control, headers={"Accept": _ACCEPT}) as response,
    ):
        status = response.status_code
        if status in RETRIED:
            reason = f"{status} for {reference}"
            raise TryAgainError(reason, after_s=after_s(response))
        if status == httpx2.codes.NOT_FOUND:
            msg = (
                f"Ollama's registry has no {reference}. https://ollama.com/search has the "
                "names; a name without a tag stands for :latest."
            )
            raise UnknownReferenceError(msg)
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            raise GatedError(gated_text(str(reference)))
        if status != httpx2.codes.OK:
            who = without_user(settings.MAGI_OLLAMA_REGISTRY)
            msg = f"{who} answers {status} for {reference}."
            raise UnsupportedDownloadError(msg)
        raw = read_text(response)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _malformed(str(reference), "it is too long")
    return raw


def _layers(raw: bytes, name: str) -> list[dict[str, Any]]:
    """Return what a manifest lists, its config with it; each with type, digest and size."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, "it is not JSON") from error
    listed = data.get("layers") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_LAYERS:
        raise _malformed(name, _why_no_layers(data))
    config = data.get("config")
    layers: dict[str, dict[str, Any]] = {}
    for layer in [*listed, *([config] if config else [])]:
        if not isinstance(layer, dict) or not isinstance(layer.get("mediaType"), str):
            raise _malformed(name, "a layer of it has no type")
        digest, size = layer.get("digest"), layer.get("size")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _malformed(name, "a digest of it is none")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise _malformed(name, "a size of it is none")
        layers.setdefault(digest, layer)
    return list(layers.values())


def _why_no_layers(data: Any) -> str:
    if not isinstance(data, dict):
        return "it is no object"
    if isinstance(data.get("manifests"), list):
        return "it is a list of several manifests, of which none is taken"
    is_many = isinstance(data.get("layers"), list) and data["layers"]
    return "it has a layer for each tensor" if is_many else "it lists no layers"


def _remote(base: str, folder: Path, layer: dict[str, Any], name: str) -> RemoteFile:
    kind, digest, size = layer["mediaType"], layer["digest"], layer["size"]
    is_gguf = kind in _GGUF
    if not is_gguf and not _is_tensor(layer) and size > MAX_SMALL_BYTES:
        raise _malformed(name, f"a layer that is no model has {size:,} bytes")
    blob = folder / "blobs" / digest.replace(":", "-")
    return RemoteFile(
        name=f"{kind.removeprefix(_IMAGE)} {digest[7:19]}"[:80]
        if kind.isprintable()
        else digest,
        url=f"{base}/blobs/{digest}",
        size_bytes=size,
        digest=Digest(SHA256, digest[7:]),
        blob=blob,
        partial=partial_of(blob),
        is_gguf=is_gguf,
    )


def partial_of(blob: Path) -> Path:
    """Return where a blob grows. What `ollama pull` has begun in parts stays Ollama's."""
    path = blob.with_name(f"{blob.name}-partial")
    is_ollamas = any(blob.parent.glob(f"{blob.name}-partial-*"))
    return path.with_name(f"{path.name}.magi") if is_ollamas else path


def _is_tensor(layer: dict[str, Any]) -> bool:
    return bool(layer["mediaType"] == _TENSOR)


def write_manifest(folder: Path, below: Path, raw: bytes) -> None:
    """Name what was fetched. Until then, nothing of it is a model.

    Args:
        below: HOST/NAMESPACE/MODEL/TAG.
    """
    path = folder / "manifests" / below
    newer = folder / "manifests-v2" / below
    if newer.is_symlink() or newer.exists():  # it would hide what is in `manifests`
        blob = folder / "blobs" / f"sha256-{hashlib.sha256(raw).hexdigest()}"
        _write(blob, raw)
        _put(newer, lambda spare: spare.symlink_to(os.path.relpath(blob, newer.parent)))
    _write(path, raw)


def _write(path: Path, raw: bytes) -> None:
    def write(spare: Path) -> None:
        with spare.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())

    _put(path, write)


def _put(path: Path, make: Callable[[Path], object]) -> None:
    """Have `path` there whole, or as it was: what is in the making has no tag's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = store() / f".magi-{uuid.uuid4().hex[:12]}"
    make(spare)
    spare.replace(path)


def _malformed(name: str, why: str) -> UnsupportedDownloadError:
    return UnsupportedDownloadError(
        f"What the registry tells of {name} cannot be used: {why}. Try another tag."
    )
