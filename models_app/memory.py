"""How much memory a model takes when it runs: an estimate, made before the first launch."""

from collections.abc import Sequence
from dataclasses import dataclass

from models_app.ggml_types import GGML_TYPES_BY_NAME

UBATCH_SIZE = 512  # llama-server's default for --ubatch-size
USUAL_VOCAB_SIZE = 131_072  # where a file does not say
# What `--cache-type-k` and `--cache-type-v` take.
CACHE_TYPES = {
    name: GGML_TYPES_BY_NAME[name.upper()]
    for name in (
        "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"
    )
}  # fmt: skip
_ACTIVATIONS = 12  # widths of the model held for each token; fitted, see below


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on all devices together."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    projector_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes + self.kv_cache_bytes + self.compute_bytes + self.projector_bytes
        )


def estimate_memory(  # noqa: PLR0913 - each is a flag, or a key of the header
    *,
    size_bytes: int,
    projector_bytes: int = 0,
    ctx_size: int,
    block_count: int | None,
    head_count: int | None,
    head_count_kv: int | Sequence[int] | None,
    key_length: int | None,
    value_length: int | None,
    embedding_length: int | None,
    vocab_size: int | None = None,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    ubatch_size: int = UBATCH_SIZE,
) -> MemoryEstimate:
    """Estimate the memory of a running llama-server.

    Sliding windows and recurrent layers make the KV cache smaller than estimated here.
    The compute buffer is the logits of one micro-batch and a share of the width, fitted to
    one measurement: 527 MiB that `llama-fit-params` says for Gemma 3 270M. What a projector
    needs for the image it is looking at is not in it.

    Args:
        size_bytes: of the model's files, all shards together.
        projector_bytes: of the mmproj file, 0 without one.
        ctx_size: tokens of all slots together, as `--ctx-size` is.
        head_count_kv: one number, or one for each layer.
        key_length: width of one head's key; with None, embedding_length / head_count.
        cache_type_k: one of CACHE_TYPES.

    Raises:
        KeyError: a cache type that llama-server does not know.
    """
    width = embedding_length or 0
    head_width = width // head_count if head_count else 0
    heads = _kv_heads(block_count or 0, head_count_kv or head_count or 0)
    per_head = _cache_bytes(key_length or head_width, cache_type_k) + _cache_bytes(
        value_length or head_width, cache_type_v
    )
    logits = vocab_size or USUAL_VOCAB_SIZE
    return MemoryEstimate(
        weights_bytes=size_bytes,
        kv_cache_bytes=round(ctx_size * heads * per_head),
        projector_bytes=projector_bytes,
        compute_bytes=ubatch_size * 4 * (logits + _ACTIVATIONS * width),
    )


def _kv_heads(block_count: int, head_count_kv: int | Sequence[int]) -> int:
    """Return the KV heads of all layers together."""
    if isinstance(head_count_kv, int):
        return block_count * head_count_kv
    return sum(head_count_kv)


def _cache_bytes(width: int, cache_type: str) -> float:
    return width * CACHE_TYPES[cache_type].bits_per_weight / 8
