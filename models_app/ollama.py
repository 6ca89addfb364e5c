"""Read Ollama's store: manifests that name models, and blobs that hold them.

Source: manifest/manifest.go and types/model/name.go, https://github.com/ollama/ollama

A tag is a file `manifests/HOST/NAMESPACE/MODEL/TAG`; what it names is in `blobs/`, as
`sha256-…`. Newer versions keep their tags in `manifests-v2/`, as links to blobs.
"""

import json
import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from models_app.scanned import (
    ModelFiles,
    RootListing,
    ScannedFile,
    os_reason,
    read_small_file,
    scanned_file,
    why_unusable,
)

MAX_MANIFEST_BYTES = 1024 * 1024  # one with a layer for each of 3,000 tensors has 700 KB

_MANIFESTS = ("manifests-v2", "manifests")  # a tag in the first hides its old manifest
_BLOBS = "blobs"
_MODEL = "application/vnd.ollama.image.model"
_PROJECTOR = "application/vnd.ollama.image.projector"
_ADAPTER = "application/vnd.ollama.image.adapter"
_TENSOR = "application/vnd.ollama.image.tensor"  # safetensors, one layer each
_LIST = "application/vnd.ollama.manifest.list.v2+json"
_RUNNERS = ("ollama", "llamacpp", "")  # not "mlx"
_TAG_PARTS = 4
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_ADAPTER_WARNING = ("its adapter (LoRA) is not loaded: it answers as its base model does",)


class ManifestError(Exception):
    """A manifest that names no model for llama-server; its text is for the report."""


@dataclass(frozen=True, slots=True)
class Tag:
    """The name of a model in Ollama's words: `registry.ollama.ai/library/qwen3:4b`."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def of_path(cls, parts: tuple[str, ...]) -> Self | None:
        """Return the tag that a manifest's path below its folder spells, or None."""
        if len(parts) != _TAG_PARTS or not _HOST.fullmatch(parts[0]):
            return None
        return cls(*parts) if all(_PART.fullmatch(part) for part in parts[1:]) else None

    @property
    def identity(self) -> str:
        return f"ollama:{self.host}/{self.namespace}/{self.filename}"

    @property
    def filename(self) -> str:
        return f"{self.model}:{self.tag}"

    @property
    def short_name(self) -> str:
        """What `ollama run` takes: `qwen3:4b`, `hf.co/bartowski/Qwen3-4B-GGUF:Q4_K_M`."""
        if self.host != "registry.ollama.ai":
            return f"{self.host}/{self.namespace}/{self.filename}"
        if self.namespace != "library":
            return f"{self.namespace}/{self.filename}"
        return self.filename


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a manifest names: digests, as 64 hexadecimal digits."""

    model: str
    projectors: tuple[str, ...]
    adapters: tuple[str, ...]


def is_store(names: Container[str]) -> bool:
    """Whether a folder with these names in it is Ollama's."""
    return _BLOBS in names and any(name in names for name in _MANIFESTS)


def list_store(root: Path, listing: RootListing) -> None:
    """List the tags of a store, and account for its blobs.

    A file is a tag, a blob of weights beside a model, a stopped download, or a blob that
    no manifest names. Templates, licences and parameters are part of their tag.
    """
    store = _Store(root, listing)
    tags = _tags(root, listing)
    models = [model for tag, path in tags if (model := store.model_of(tag, path)) is not None]
    # Of several tags for one blob the first is the model: the plainest, and not `latest`.
    models.sort(
        key=lambda model: (
            bool(model.warnings),
            model.filename.endswith(":latest"),
            model.identity,
        )
    )
    listing.models += models
    store.account_for_blobs()


class _Store:
    def __init__(self, root: Path, listing: RootListing) -> None:
        self.root = root
        self.blobs = root / _BLOBS
        self.listing = listing
        self.named: set[str] = set()  # digests
        self.beside: dict[str, str] = {}  # digests of what is no model, and what it is

    def model_of(self, tag: Tag, path: Path) -> ModelFiles | None:
        """Return the model of a tag; a tag without one is put on the list."""
        try:
            manifest = self._read(path)
            file = self._blob(manifest.model)
        except ManifestError as error:
            self.listing.skip(path, str(error))
            return None
        projector, problem = self._projector(manifest)
        return ModelFiles(
            root=self.root,
            identity=tag.identity,
            repo_id=tag.short_name,
            folder=tag.identity,
            files=(file,),
            filename=tag.filename,
            manifest=path,
            projector_path=projector,
            problem=problem,
            warnings=_ADAPTER_WARNING if manifest.adapters else (),
        )

    def account_for_blobs(self) -> None:
        try:
            names = sorted(path.name for path in self.blobs.iterdir())
        except OSError as error:
            self.listing.fail(self.blobs, error)
            return
        for name in names:
            match = _DIGEST.fullmatch(name)
            digest = match[1].lower() if match else ""
            if not digest:
                reason = "incomplete download" if "-partial" in name else "not a blob"
                self.listing.skip(self.blobs / name, reason)
            elif digest in self.beside:
                self.listing.skip(self.blobs / name, self.beside[digest])
            elif digest not in self.named:
                self.listing.skip(self.blobs / name, "no manifest names this blob")

    def _read(self, path: Path) -> _Manifest:
        data = _load(path)
        if data.get("mediaType") == _LIST:
            data = self._choose(data)
        layers = _layers(data)
        digests: dict[str, list[str]] = {}
        for layer in [*layers, data.get("config")]:
            if isinstance(layer, dict):
                kind = str(layer.get("mediaType"))
                digests.setdefault(kind, []).append(_digest(layer.get("digest")))
        self.named.update(digest for group in digests.values() for digest in group)
        projectors = tuple(digests.get(_PROJECTOR, ()))
        adapters = tuple(digests.get(_ADAPTER, ()))
        models = digests.get(_MODEL)
        if not models:
            if _TENSOR in digests:
                msg = "safetensors weights: llama-server cannot load them"
                raise ManifestError(msg)
            msg = "its manifest names no model"
            raise ManifestError(msg)
        self.beside.update(dict.fromkeys(projectors, "projector"))
        self.beside.update(dict.fromkeys(adapters, "adapter"))
        return _Manifest(models[0], projectors, adapters)

    def _choose(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the manifest for llama-server out of a list of them."""
        entries = data.get("manifests")
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or entry.get("runner", "") not in _RUNNERS:
                continue
            if isinstance(entry.get("layers"), list):
                return entry
            digest = _digest(entry.get("digest"))
            self.named.add(digest)
            return _load(self._blob_path(digest))
        msg = "it has weights for other runners only: llama-server cannot load them"
        raise ManifestError(msg)

    def _projector(self, manifest: _Manifest) -> tuple[Path | None, str]:
        """Return the projector's path, and what is wrong with it."""
        if not manifest.projectors:
            return None, ""
        try:
            return self._blob(manifest.projectors[0]).path, ""
        except ManifestError as error:
            return None, f"its projector cannot be used: {error}"

    def _blob(self, digest: str) -> ScannedFile:
        path = self._blob_path(digest)
        try:
            status = path.stat()
        except OSError as error:
            missing = f"incomplete: its blob sha256-{digest[:12]}… is missing"
            raise ManifestError(os_reason(error, missing=missing)) from error
        if reason := why_unusable(path, status):
            raise ManifestError(reason)
        return scanned_file(path, status, is_link=path.is_symlink())

    def _blob_path(self, digest: str) -> Path:
        return self.blobs / f"sha256-{digest}"


def _tags(root: Path, listing: RootListing) -> Iterator[tuple[Tag, Path]]:
    """Yield the tags of a store and where their manifests are."""
    seen: set[Tag] = set()
    for top in (root / name for name in _MANIFESTS):
        for path in _manifests(top, listing):
            tag = Tag.of_path(path.relative_to(top).parts)
            if tag is None:
                listing.skip(path, "not an Ollama manifest: its path is no model's name")
            elif tag in seen:
                listing.skip(path, "older manifest of the same tag")
            else:
                seen.add(tag)
                yield tag, path


def _manifests(top: Path, listing: RootListing) -> Iterator[Path]:
    """Yield the files of a folder of manifests, if there is one.

    It is no deeper than a tag has parts.
    """

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError) or error.filename != str(top):
            listing.fail(Path(error.filename), error)

    for folder, folders, files in os.walk(top, onerror=report, followlinks=True):
        folders.sort()
        if len(Path(folder).relative_to(top).parts) == _TAG_PARTS - 1:
            for name in folders:
                listing.skip(Path(folder, name), "not an Ollama manifest: a folder")
            folders.clear()  # links in a circle end here as well
        yield from (Path(folder, name) for name in sorted(files))


def _load(path: Path) -> dict[str, Any]:
    """Read a manifest, whoever wrote it.

    Raises:
        ManifestError: it cannot be read, is too long, or is no JSON object.
    """
    try:
        raw = read_small_file(path, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise ManifestError(os_reason(error)) from error
    if len(raw) > MAX_MANIFEST_BYTES:
        msg = f"its manifest is longer than {MAX_MANIFEST_BYTES:,} bytes"
        raise ManifestError(msg)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        msg = "its manifest is not JSON"
        raise ManifestError(msg) from error
    if not isinstance(data, dict):
        msg = "its manifest is not an object"
        raise ManifestError(msg)
    return data


def _layers(data: dict[str, Any]) -> list[Any]:
    layers = data.get("layers")
    if not isinstance(layers, list):
        msg = "its manifest has no layers"
        raise ManifestError(msg)
    return layers


def _digest(value: object) -> str:
    """Return the digits of a digest; anything else would be a path of a stranger's choice."""
    match = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        msg = "its manifest has a malformed digest"
        raise ManifestError(msg)
    return match[1].lower()
