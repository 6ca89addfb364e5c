"""What the tests of downloads from a hub have in common."""

from pathlib import Path

from django.conf import settings

from models_app.download_models import Download
from models_app.downloads import service, worker
from tests.models_app.hubs.content import Content

REPO = "org/Qwen3-4B-GGUF"
NAME = "Qwen3-4B-Q4_K_M.gguf"


def fetched(reference: str = REPO, **options: object) -> Download:
    """Have it fetched here and now; return the row as it has become."""
    row, _ = service.want(reference, **options)  # type: ignore[arg-type]
    done = worker.run(row.pk)
    assert done is not None
    return done


def cache() -> Path:
    return Path(settings.MAGI_RUN_DIR).parent / "hf" / "hub"


def left_over() -> list[str]:
    """Return the files that are in the cache."""
    return [path.name for path in cache().rglob("*") if path.is_symlink() or path.is_file()]


def partial_of(content: Content) -> Path:
    return cache() / "models--org--Qwen3-4B-GGUF" / "blobs" / f"{content.sha256}.incomplete"
