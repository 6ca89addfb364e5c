"""What a found model is as a row of the registry."""

from pathlib import Path
from typing import Any

from models_app.found import FoundModel
from models_app.memory import MemoryEstimate, estimate_memory
from models_app.models import DiscoveredModel, ScanRoot

# The guide's --ctx-size, in tokens: what the memory estimate is made for.
CTX_SIZE = 32768
MAX_PATH_CHARS = 1000


def why_not_storable(model: FoundModel) -> str:
    """Return why a model cannot be a row; empty if it can."""
    paths = (model.identity, str(model.file_path), str(model.blob_path))
    if any(len(path) > MAX_PATH_CHARS for path in paths):
        return f"its path has more than {MAX_PATH_CHARS} characters"
    return ""


def row_fields(model: FoundModel, root: ScanRoot) -> dict[str, Any]:
    """Return the columns that a scan writes; neither people's nor what rules decide."""
    return {
        "identity": model.identity,
        "root": root,
        "file_path": str(model.file_path),
        "blob_path": str(model.blob_path),
        "filename": model.filename,
        "repo_id": _cut("repo_id", model.repo_id),
        "family": _cut("family", model.family),
        "version": _cut("version", model.version),
        "variant": _cut("variant", model.variant),
        "size_text": _cut("size_text", model.size_text),
        "size_params": model.size_params,
        "active_params": model.active_params,
        "quantization": _cut("quantization", model.quantization),
        "is_thinking_model": model.is_thinking_model,
        "supports_thinking": model.supports_thinking,
        "supports_tools": model.supports_tools,
        "is_instruct": model.is_instruct,
        "is_coder": model.is_coder,
        "kind": model.kind,
        "architecture": _cut("architecture", model.architecture),
        "context_length": model.context_length,
        "parameter_count": model.parameter_count,
        "size_bytes": model.size_bytes,
        "memory_bytes": _memory_bytes(model),
        "projector_path": str(model.projector_path or ""),
        "shard_count": model.shard_count,
        "metadata": {
            "name": model.name,
            "license": model.license,
            "base_model": model.base_model,
            "quantized_by": model.quantized_by,
            "expert_count": model.expert_count,
            "expert_used_count": model.expert_used_count,
            "block_count": model.block_count,
            "head_count": model.head_count,
            "head_count_kv": model.head_count_kv,
            "key_length": model.key_length,
            "value_length": model.value_length,
            "embedding_length": model.embedding_length,
            "vocab_size": model.vocab_size,
            "chat_template": model.chat_template,
        },
        "warnings": list(model.warnings),
        "problem": model.problem,
        "is_missing": False,
        "file_signature": model.signature.as_json(),
    }


def file_bytes(path: str) -> int:
    """Return the size of a file beside a model; 0 without one, or when it has gone."""
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0


def estimate_row(
    model: DiscoveredModel, *, ctx_size: int, size_bytes: int = 0, **options: Any
) -> MemoryEstimate:
    """Estimate the memory of a registered model.

    Args:
        ctx_size: tokens, of all slots together.
        size_bytes: of weights beside the model's own: adapters, a draft model.
        options: as estimate_memory takes them.
    """
    header = model.metadata
    return estimate_memory(
        size_bytes=model.size_bytes + size_bytes,
        ctx_size=ctx_size,
        block_count=header.get("block_count"),
        head_count=header.get("head_count"),
        head_count_kv=header.get("head_count_kv"),
        key_length=header.get("key_length"),
        value_length=header.get("value_length"),
        embedding_length=header.get("embedding_length"),
        vocab_size=header.get("vocab_size"),
        **options,
    )


def _memory_bytes(model: FoundModel) -> int:
    return estimate_memory(
        size_bytes=model.size_bytes,
        projector_bytes=file_bytes(str(model.projector_path or "")),
        ctx_size=min(CTX_SIZE, model.context_length or CTX_SIZE),
        block_count=model.block_count,
        head_count=model.head_count,
        head_count_kv=model.head_count_kv,
        key_length=model.key_length,
        value_length=model.value_length,
        embedding_length=model.embedding_length,
        vocab_size=model.vocab_size,
    ).total_bytes


def _cut(name: str, text: str) -> str:
    """Keep a header's text within its column; PostgreSQL refuses a longer one."""
    field = DiscoveredModel._meta.get_field(name)
    return text.replace("\0", "")[: getattr(field, "max_length", None)]
