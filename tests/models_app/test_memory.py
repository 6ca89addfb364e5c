import pytest

from models_app.memory import CACHE_TYPES, MemoryEstimate, estimate_memory


def estimate(**changes: object) -> MemoryEstimate:
    """Estimate SmolLM2-135M at 4,096 tokens, with changes."""
    numbers: dict[str, object] = {
        "size_bytes": 98_362_432,
        "ctx_size": 4096,
        "block_count": 30,
        "head_count": 9,
        "head_count_kv": 3,
        "key_length": 64,
        "value_length": 64,
        "embedding_length": 576,
        "vocab_size": 49_152,
    }
    return estimate_memory(**(numbers | changes))  # type: ignore[arg-type]  # numbers by name


def test_adds_weights_cache_and_compute_buffer() -> None:
    memory = estimate()

    assert memory.weights_bytes == 98_362_432
    assert memory.kv_cache_bytes == 30 * 3 * (64 + 64) * 4096 * 2 == 94_371_840
    assert memory.compute_bytes == 512 * 4 * (49_152 + 12 * 576)
    assert memory.total_bytes == 98_362_432 + 94_371_840 + memory.compute_bytes


def test_comes_close_to_what_llama_fit_params_says() -> None:
    memory = estimate(
        ctx_size=32_768,
        block_count=18,
        head_count=4,
        head_count_kv=1,
        key_length=256,
        value_length=256,
        embedding_length=640,
        vocab_size=262_144,
    )

    assert memory.compute_bytes // 2**20 == 527


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"ctx_size": 8192}, 188_743_680, id="twice the context"),
        pytest.param({"key_length": None, "value_length": None}, 94_371_840, id="even heads"),
        pytest.param({"head_count_kv": None}, 283_115_520, id="every head has its own"),
        pytest.param({"head_count_kv": [3] * 15 + [0] * 15}, 47_185_920, id="by layer"),
        pytest.param(
            {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, 50_135_040, id="8-bit cache"
        ),
        pytest.param({"block_count": None}, 0, id="nothing known"),
    ],
)
def test_kv_cache(changes: dict[str, object], expected: int) -> None:
    assert estimate(**changes).kv_cache_bytes == expected


def test_an_unknown_vocabulary_is_taken_to_be_a_usual_one() -> None:
    assert estimate(vocab_size=None).compute_bytes > estimate().compute_bytes


def test_a_projector_is_a_part_of_its_own() -> None:
    memory = estimate(projector_bytes=851_251_104)

    assert memory.projector_bytes == 851_251_104
    assert memory.total_bytes == estimate().total_bytes + 851_251_104


@pytest.mark.parametrize("cache_type", CACHE_TYPES)
def test_estimates_every_cache_type_of_llama_server(cache_type: str) -> None:
    memory = estimate(cache_type_k=cache_type, cache_type_v=cache_type)

    assert 0 < memory.kv_cache_bytes <= 188_743_680


def test_refuses_a_cache_type_that_llama_server_does_not_know() -> None:
    with pytest.raises(KeyError):
        estimate(cache_type_k="q6_k")  # a tensor type, and no cache type
