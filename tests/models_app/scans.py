"""Scans for tests, and the folders they are made of."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

from models_app.discovery import (
    DIRECTORY,
    Discovery,
    FoundModel,
    KnownFile,
    KnownSkip,
    RootSpec,
    discover,
)
from tests.models_app.ggufs import TEXT_MODEL, gguf_bytes, write_gguf

K = TypeVar("K", KnownFile, KnownSkip)

LIBRARY = "registry.ollama.ai/library"  # of Ollama
PROJECTOR = {"general.architecture": "clip", "general.type": "mmproj"}


def scan(path: Path, kind: str = DIRECTORY, **options: Any) -> Discovery:
    return discover([RootSpec(path, kind)], **options)


def only_model(found: Discovery) -> FoundModel:
    (model,) = found.models
    return model


def reasons(found: Discovery) -> dict[str, str]:
    return {skipped.path.name: skipped.reason for skipped in found.skipped}


def known_of(found: Discovery) -> dict[str, KnownFile]:
    """Return what a scan found as the registry keeps it: by way of JSON."""
    signatures = {model.identity: model.signature for model in found.models}
    return {key: _by_way_of_json(known) for key, known in signatures.items()}


def known_skips_of(found: Discovery) -> dict[str, KnownSkip]:
    """Return what a scan found to be no model, by way of JSON as well."""
    return {path: _by_way_of_json(known) for path, known in found.known_skips.items()}


def _by_way_of_json(known: K) -> K:
    again = known.of_json(json.loads(json.dumps(known.as_json())))
    assert again is not None
    return again


def rescan(found: Discovery, path: Path, kind: str = DIRECTORY) -> Discovery:
    """Scan again, with what the last scan knew."""
    return scan(path, kind, known=known_of(found), known_skips=known_skips_of(found))


def add_to_cache(
    cache: Path, repo: str, revision: str, name: str, content: bytes, *, blob: str = ""
) -> Path:
    """Put a file into a Hugging Face cache, as huggingface_hub does."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    target = folder / "blobs" / (blob or f"{revision}-{name}".replace("/", "-"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))
    return link


def add_blob(store: Path, content: bytes) -> str:
    """Put a blob into Ollama's store; return its digest."""
    digest = hashlib.sha256(content).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    if not blob.exists():
        blob.write_bytes(content)
    return f"sha256:{digest}"


def add_tag(store: Path, name: str, manifest: object, *, folder: str = "manifests") -> Path:
    """Put a manifest into Ollama's store; `name` is HOST/NAMESPACE/MODEL:TAG."""
    path = store / folder / name.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), "utf-8")
    return path


def manifest_of(**digests: str) -> dict[str, Any]:
    """Return a manifest by layers: `model`, `projector`, `adapter`, `template`…"""
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": 1}
        for kind, digest in digests.items()
    ]
    return {"schemaVersion": 2, "layers": layers}


def blob_of(store: Path, digest: str) -> Path:
    """Return where a digest's blob is in Ollama's store."""
    return store / "blobs" / digest.replace(":", "-")


def add_model(store: Path, name: str = f"{LIBRARY}/qwen3:4b", content: bytes = b"") -> Path:
    """Put a model into Ollama's store; return its manifest."""
    return add_tag(store, name, manifest_of(model=add_blob(store, content or complete_gguf())))


def manifest_list(*entries: object) -> dict[str, Any]:
    """Return manifests of one model for several runners."""
    return {
        "mediaType": "application/vnd.ollama.manifest.list.v2+json",
        "manifests": list(entries),
    }


def set_main(cache: Path, repo: str, revision: str) -> None:
    ref = cache / f"models--{repo.replace('/', '--')}" / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(revision)


def complete_gguf(metadata: dict[str, Any] | None = None) -> bytes:
    return gguf_bytes(metadata) + bytes(512)


def write_shards(folder: Path, numbers: list[int], total: int = 3) -> None:
    for number in numbers:
        split = {"split.no": number - 1, "split.count": total}
        metadata = (TEXT_MODEL | split) if number == 1 else split
        name = f"Llama-3.3-70B-Q8_0-{number:05}-of-{total:05}.gguf"
        write_gguf(folder / name, metadata)
