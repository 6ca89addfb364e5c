"""A stand-in for Ollama's registry: manifests, and blobs by their digests."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tests.models_app.hubs.content import Content
from tests.models_app.hubs.server import Handler, StandIn

IMAGE = "application/vnd.ollama.image."
_MANIFEST = re.compile(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)")
_BLOB = re.compile(r"/v2/[^/]+/[^/]+/blobs/(sha256:[0-9a-f]{64})")
_CDN = re.compile(r"/cdn/(sha256:[0-9a-f]{64})")


class _RegistryHandler(Handler):
    def answer(self, path: str, headers: dict[str, str]) -> None:
        registry: OllamaRegistry = self.stand_in
        if match := _MANIFEST.fullmatch(path):
            manifest = registry.manifests.get(f"{match[1]}:{match[2]}")
            if registry.needs_sign_in:
                self.reply(401)
            elif manifest is None:
                self.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            else:
                self.reply(200, manifest)
        elif match := _BLOB.fullmatch(path):
            self.reply(307, Location=f"http://localhost:{registry.port}/cdn/{match[1]}")
        elif (match := _CDN.fullmatch(path)) and match[1] in registry.blobs:
            self.give(registry.blobs[match[1]])
        else:
            self.reply(404)


class OllamaRegistry(StandIn):
    """Set `settings.MAGI_OLLAMA_REGISTRY` to its `url`."""

    handler = _RegistryHandler

    def __init__(self) -> None:
        super().__init__()
        self.manifests: dict[str, bytes] = {}  # by namespace/name:tag
        self.blobs: dict[str, Content] = {}
        self.needs_sign_in = False

    def add(self, name: str, folder: Path, model: Content, **more: Content) -> dict[str, Any]:
        """Have a tag, `library/qwen3:4b`, with a template and a config; return its manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        layers = [self._layer(f"{IMAGE}model", model)]
        layers += [self._layer(f"{IMAGE}{kind}", content) for kind, content in more.items()]
        layers.append(self._layer(f"{IMAGE}template", small(folder, b"{{ .Prompt }}")))
        config = small(folder, b'{"model_format":"gguf"}')
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._layer("application/vnd.docker.container.image.v1+json", config),
            "layers": layers,
        }
        self.manifests[name] = json.dumps(manifest).encode()
        return manifest

    def is_body(self, path: str) -> bool:
        return path.startswith("/cdn/")

    def _layer(self, kind: str, content: Content) -> dict[str, Any]:
        digest = f"sha256:{content.sha256}"
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": content.size}


def small(folder: Path, raw: bytes) -> Content:
    path = folder / hashlib.sha256(raw).hexdigest()[:12]
    path.write_bytes(raw)
    return Content.of(path)
