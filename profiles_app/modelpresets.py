"""Model presets: models that a TOML file of gemma-cli names, held against the disk."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.gemma import TOKENIZER, is_weights
from models_app.models import DiscoveredModel
from models_app.roots import lies_in_scan_root
from models_app.validation import shard_paths
from profiles_app.errors import PresetNotFoundError
from profiles_app.preset_models import ModelPreset
from profiles_app.presetfile import FORMATS, MODEL_FIELDS

GB = 10**9  # bytes, of `size_gb`
GIB = 2**30  # bytes: what people mean as well when they write GB
SIZE_TOLERANCE = 0.10  # of `size_gb`
MAX_SHARDS_NAMED = 3  # of those that are missing: a name may promise 99,999 shards


@dataclass(frozen=True, slots=True)
class Detected:
    """A model of the registry, as a model preset would have it."""

    name: str  # its id in the registry
    weights: str
    tokenizer: str  # of gemma.cpp's weights, if one lies beside them
    format: str
    size_gb: float
    context_length: int | None  # tokens, as trained
    kind: str  # a ModelKind
    preset: str  # the model preset that has these weights already, or nothing


def list_models() -> list[ModelPreset]:
    """Return all model presets, by name."""
    return list(ModelPreset.objects.all())


def get_model(name: str) -> ModelPreset:
    """Return the model preset of that name.

    Raises:
        PresetNotFoundError: there is none; the message lists those there are.
    """
    try:
        return ModelPreset.objects.get(name=name)
    except ModelPreset.DoesNotExist as error:
        names = [preset.name for preset in list_models()]
        raise PresetNotFoundError(name, names, kind="model preset") from error


@transaction.atomic
def delete_model(name: str) -> None:
    """Delete a model preset; its files stay. If it was the default, there is none then.

    Raises:
        PresetNotFoundError: there is no model preset of that name.
    """
    preset = get_model(name)
    before = {**values_of(preset), "is_default": preset.is_default}
    audit.record(Action.DELETE, preset, before=before)
    preset.delete()


@transaction.atomic
def set_default_model(name: str) -> ModelPreset:
    """Make this model preset the one default.

    Raises:
        PresetNotFoundError: there is no model preset of that name.
    """
    # Of two that do this at once, the second waits, and sees what the first has done.
    list(ModelPreset.objects.select_for_update().order_by("pk"))
    preset = get_model(name)
    defaults = ModelPreset.objects.filter(is_default=True)
    before = {"default": defaults.values_list("name", flat=True).first()}
    audit.record_change(Action.UPDATE, preset, before, {"default": name})
    defaults.exclude(pk=preset.pk).update(is_default=False)
    preset.is_default = True
    preset.save(update_fields=["is_default"])
    return preset


def values_of(preset: ModelPreset) -> dict[str, Any]:
    """Return every field but the name, and but whether it is the default."""
    return {name: getattr(preset, name) for name in MODEL_FIELDS}


def validate_model(preset: ModelPreset, *, is_confined: bool = False) -> list[str]:
    """Return what is wrong with the preset's files on this machine; nothing if all is well.

    Whether weights (with all shards) and tokenizer are there and readable, and whether
    the weights are within 10 % of `size_gb`: of so many 10^9 bytes, or of so many 2^30.

    Args:
        is_confined: look at no file outside the scan roots, for somebody who may not know
            which files there are.
    """
    if is_confined and (outside := _outside_scan_roots(preset)):
        return outside
    weights = os.path.expanduser(preset.weights)  # noqa: PTH111 - leaves an unknown ~user
    looked_at = [(p, *_look_at(p)) for p in shard_paths(DiscoveredModel(file_path=weights))]
    problems = [f"weights: {path} {problem}" for path, _, problem in looked_at if problem]
    if (more := len(problems) - MAX_SHARDS_NAMED) > 0:
        problems[MAX_SHARDS_NAMED:] = [f"weights: {more} more of its files are not right"]
    size_bytes = sum(size for _, size, _ in looked_at)
    if not problems and preset.size_gb is not None:
        problems += _size_problems(size_bytes, preset.size_gb)
    if preset.tokenizer:
        path = Path(os.path.expanduser(preset.tokenizer))  # noqa: PTH111 - as above
        if problem := _look_at(path)[1]:
            problems.append(f"tokenizer: {path} {problem}")
    elif is_weights(preset.weights):
        problems.append(f"tokenizer: none is named; *.sbs weights have one (*{TOKENIZER})")
    return problems


def detect_models() -> list[Detected]:
    """Return the models of the registry that are not missing, as presets would have them.

    Nothing is scanned and nothing saved: `manage.py rescan` brings the registry up to
    date. Of gemma.cpp's weights, the folder is read for a tokenizer. GGUF files that
    llama-server cannot load are left out.
    """
    presets = {preset.weights: preset.name for preset in list_models()}
    return [
        _detected(model, presets)
        for model in DiscoveredModel.objects.filter(is_missing=False)
        if is_weights(model.filename) or not model.problem
    ]


def _outside_scan_roots(preset: ModelPreset) -> list[str]:
    return [
        f"{name}: {path} lies in no scan root, and is not looked at"
        for name in ("weights", "tokenizer")
        if (path := getattr(preset, name)) and not lies_in_scan_root(os.path.expanduser(path))  # noqa: PTH111 - as above
    ]


def _detected(model: DiscoveredModel, presets: dict[str, str]) -> Detected:
    is_gemma = is_weights(model.filename)
    quantization = model.quantization.lower()
    return Detected(
        name=model.model_id,
        weights=model.file_path,
        tokenizer=_tokenizer_beside(Path(model.file_path)) if is_gemma else "",
        format=quantization if quantization in FORMATS else model.quantization,
        size_gb=round(model.size_bytes / GB, 3),
        context_length=model.context_length,
        kind=model.kind,
        preset=presets.get(model.file_path) or presets.get(model.blob_path, ""),
    )


def _tokenizer_beside(weights: Path) -> str:
    try:
        names = sorted(os.listdir(weights.parent))  # noqa: PTH208 - only names are wanted
    except OSError:  # a folder of another node, or one that has gone since the scan
        return ""
    return next(
        (str(weights.with_name(name)) for name in names if name.lower().endswith(TOKENIZER)), ""
    )


def _look_at(path: Path) -> tuple[int, str]:
    """Return the size in bytes, and what is wrong. A pipe is not opened: it would wait."""
    if not path.is_absolute():
        is_windows = bool(PureWindowsPath(path).drive)
        return 0, "is a path of Windows, not of here" if is_windows else "is no absolute path"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return 0, "is not a file"
        with path.open("rb"):
            pass
    except FileNotFoundError:
        return 0, "is not there"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return 0, f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return status.st_size, "" if status.st_size else "is empty"


def _size_problems(size_bytes: int, size_gb: float) -> Iterator[str]:
    for unit in (GB, GIB):
        # The last byte is not held against it: 0.1 of something is not exact.
        if abs(size_bytes - size_gb * unit) <= SIZE_TOLERANCE * size_gb * unit + 1:
            return
    yield (
        f"weights: {size_bytes / GB:.2f} GB on disk, and the preset says {size_gb:g}. "
        "It is half a download, or another file"
    )
