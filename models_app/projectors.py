"""Which projector (mmproj) belongs to which model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_app.filename import NameParts, parse_filename
from models_app.gguf_info import GGUFInfo

# Most projectors are published in several encodings; the first of these is best supported.
_PREFERRED = ("F16", "BF16", "Q8_0", "F32")
# Old LLaVA projectors give CLIP's own width, 768, and not that of the language model.
_LEAST_TELLING_WIDTH = 1024


@dataclass(frozen=True, slots=True)
class Projector:
    path: Path
    projection_dim: int | None


def choose_projector(
    projectors: Sequence[Projector], filename: str, info: GGUFInfo
) -> Path | None:
    """Return the best of a folder's projectors for a model, None where none fits.

    A projector fits unless its name says another family or size, or its header another
    width: a stray one in a folder of many models is not forced on all of them.
    """
    parts = parse_filename(filename)
    fitting = [
        (_rank(name.quantization), str(projector.path), projector.path)
        for projector in projectors
        if _fits_name(name := parse_filename(projector.path.name), parts)
        and _fits_width(projector.projection_dim, info.embedding_length)
    ]
    return min(fitting)[2] if fitting else None


def _rank(quantization: str) -> int:
    if quantization in _PREFERRED:
        return _PREFERRED.index(quantization)
    return len(_PREFERRED)


def _fits_name(projector: NameParts, model: NameParts) -> bool:
    if projector.size_params and model.size_params != projector.size_params:
        return False
    # Without a size, what looks like a family may be any word: mmproj-vision-f16.gguf.
    return not projector.size_params or projector.family in {"", model.family}


def _fits_width(projection_dim: int | None, embedding_length: int | None) -> bool:
    if not projection_dim or not embedding_length or projection_dim < _LEAST_TELLING_WIDTH:
        return True
    return projection_dim == embedding_length
