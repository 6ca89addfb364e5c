"""Nodes for tests: folders of one machine, each scanned as that of another."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from models_app import registry
from models_app.copies import as_on, home_of
from models_app.copy_models import ModelCopy
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel, ScanRoot
from models_app.registry import ScanReport
from models_app.roots import add_root
from models_app.scanned import HUGGINGFACE
from tests.models_app.scans import add_to_cache, complete_gguf

REPO = "org/Qwen3-4B-GGUF"
NAME = "Qwen3-4B-Q4_K_M.gguf"
IDENTITY = f"hf:{REPO}:{NAME}"


def content(number: int) -> bytes:
    """Return a model; 2 and 3 are of the same size, and differ."""
    size = min(number, 2)
    return complete_gguf() + bytes(64 * size) + bytes([number] * 32)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes with a Hugging Face cache each, in which there is one repo or none."""

    folder: Path
    names: Sequence[str] = ("a", "b", "c")

    def cache(self, node: str) -> Path:
        cache = self.folder / node / "hub"
        cache.mkdir(parents=True, exist_ok=True)
        return cache

    def give(self, node: str, number: int | None, *, name: str = NAME) -> None:
        """Have a node have that content and no other; None: none."""
        shutil.rmtree(self.cache(node) / f"models--{REPO.replace('/', '--')}", True)
        if number is not None:
            data = content(number)
            blob = hashlib.sha256(data).hexdigest()
            add_to_cache(self.cache(node), REPO, f"c0ffee{number}", name, data, blob=blob)

    def scan(self, node: str, *, prune: bool = False) -> ScanReport:
        """Scan a node, whose cache is a scan root."""
        settings.MODEL_SCAN_PATH = []
        add_root(node, str(self.cache(node)), kind=HUGGINGFACE)
        return registry.rescan(node, prune=prune)

    def forget(self, node: str) -> None:
        """Remove its scan root."""
        ScanRoot.objects.filter(node=node).delete()


def homes() -> dict[str, str | None]:
    """Return where models that are there have their home, by what follows their repo."""
    return {
        row.identity.removeprefix(IDENTITY): home_of(row) if row.root else None
        for row in DiscoveredModel.objects.filter(is_missing=False).select_related("root")
    }


def copies() -> set[tuple[str, str]]:
    """Return (what follows the repo in the identity, node) of each copy."""
    rows = ModelCopy.objects.values_list("model__identity", "node")
    return {(identity.removeprefix(IDENTITY), node) for identity, node in rows}


def on(node: str) -> list[DiscoveredModel]:
    """Return the models that a node has, as they are there."""
    found = []
    for row in DiscoveredModel.objects.select_related("root"):
        try:
            model = as_on(row, node)
        except NotOnNodeError:
            continue
        if not model.is_missing:
            found.append(model)
    return found
