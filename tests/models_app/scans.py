"""Scans for tests, and the folders they are made of."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models_app.discovery import DIRECTORY, Discovery, FoundModel, KnownFile, RootSpec, discover
from tests.models_app.ggufs import TEXT_MODEL, gguf_bytes, write_gguf

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
    signatures = {model.identity: asdict(model.signature) for model in found.models}
    return {
        key: KnownFile(**value) for key, value in json.loads(json.dumps(signatures)).items()
    }


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
