import json
from pathlib import Path
from typing import Any

import pytest

from models_app.filename import parse_filename
from models_app.naming import display_name, make_model_id, next_free_id
from models_app.sizes import Size, parse_active_params
from models_app.tiers import assign_tier

CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("discovery_cases.json").read_text("utf-8")
)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case["file"]) for case in CASES if "expect" in case],
)
def test_tiers_and_ids_of_the_specification(case: dict[str, Any]) -> None:
    parts = parse_filename(case["file"])

    tier = assign_tier(parts.size_params, parts.quantization, is_thinking=parts.is_thinking)
    model_id = make_model_id(parts, tier)

    expected = case["expect"]
    assert tier == expected["assigned_tier"]
    assert model_id == expected.get("model_id", model_id)


@pytest.mark.parametrize(
    ("filename", "tier", "expected"),
    [
        pytest.param(
            "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf",
            "powerful",
            "mixtral_8x7b_q4km_powerful",
            id="experts",
        ),
        pytest.param(
            "Qwen3-30B-A3B-Q8_0.gguf", "powerful", "qwen3_30p0b_q80_powerful", id="active"
        ),
        pytest.param(
            "Mistral-Small-3.2-24B-Instruct-2506-UD-Q4_K_XL.gguf",
            "powerful",
            "mistral_small32_24p0b_q4kxl_powerful",
            id="a dot in the variant",
        ),
        pytest.param("phi-4-Q4_K_M.gguf", "balanced", "phi4_q4km_balanced", id="no size"),
        pytest.param(
            "Qwen3-Embedding-0.6B-Q8_0.gguf", "", "qwen3_embedding_0p6b_q80", id="no tier"
        ),
        pytest.param("日本語.gguf", "", "model", id="nothing that an id may hold"),
    ],
)
def test_makes_ids(filename: str, tier: str, expected: str) -> None:
    assert make_model_id(parse_filename(filename), tier) == expected


def test_a_taken_id_gets_the_first_free_number() -> None:
    assert next_free_id("a", set()) == "a"
    assert next_free_id("a", {"a"}) == "a_2"
    assert next_free_id("a", {"a", "a_2", "a_4"}) == "a_3"


@pytest.mark.parametrize("word", ["servers", "registry", "tiers", "fast", "auto"])
def test_a_word_that_means_something_else_is_no_id(word: str) -> None:
    assert next_free_id(word, set()) == f"{word}_2"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("DeepSeek-R1-0528-Qwen3-8B-Q2_K.gguf", "DEEPSEEK R1 8.0B (Reasoning) Q2_K"),
        ("qwen2.5-coder-14b-instruct-q4_k_m.gguf", "QWEN2.5 Coder 14.0B Q4_K_M"),
        ("Qwen3-VL-4B-Instruct-Q4_K_M.gguf", "QWEN3 VL 4.0B Q4_K_M"),
        ("Meta-Llama-3.1-8B-Instruct-Q5_K_M.gguf", "LLAMA3.1 8.0B Q5_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SMOLLM2 135M Q4_1"),
        ("mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf", "MIXTRAL 8x7B Q4_K_M"),
        ("phi-4-Q4_K_M.gguf", "PHI4 Q4_K_M"),
    ],
    ids=lambda value: value.removesuffix(".gguf"),
)
def test_shows_names_in_the_style_of_the_guide(filename: str, expected: str) -> None:
    parts = parse_filename(filename)

    assert display_name(parts, is_thinking=parts.is_thinking) == expected


def test_the_repo_tells_two_names_apart() -> None:
    parts = parse_filename("Qwen3-4B-Q4_K_M.gguf")

    shown = display_name(parts, is_thinking=False, origin="unsloth/Qwen3-4B-GGUF")

    assert shown == "QWEN3 4.0B Q4_K_M [unsloth/Qwen3-4B-GGUF]"


@pytest.mark.parametrize(
    ("parameter_count", "expected"),
    [
        pytest.param(134_515_008, Size(0.13, "130m"), id="millions"),
        pytest.param(14_659_507_200, Size(15.0, "15p0b"), id="fifteen billion"),
        pytest.param(1_543_714_304, Size(1.5, "1p5b"), id="one and a half billion"),
        pytest.param(999_900_000, Size(1.0, "1p0b"), id="rounded up to a billion"),
        pytest.param(0, None, id="no tensors"),
    ],
)
def test_rounds_exact_counts_to_two_digits(parameter_count: int, expected: Size | None) -> None:
    assert Size.of_count(parameter_count) == expected


@pytest.mark.parametrize("token", ["", "b", "7", "x7b", "7bb", "1234567b", "7 b", "٣b"])
def test_is_no_size(token: str) -> None:
    assert Size.parse(token) is None


def test_reads_active_parameters() -> None:
    assert parse_active_params("A3B") == 3.0
    assert parse_active_params("a800m") == 0.8
    assert parse_active_params("3B") is None
