import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.filename import Shard, parse_filename, split_stem

CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("discovery_cases.json").read_text("utf-8")
)
FIELDS = {
    "family": "family",
    "version": "version",
    "size_params": "size_params",
    "active_params": "active_params",
    "quantization": "quantization",
    "is_thinking_model": "is_thinking",
    "is_instruct": "is_instruct",
    "is_coder": "is_coder",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["file"]) for case in CASES if "expect" in case]
)
def test_takes_the_names_of_the_specification_apart(case: dict[str, Any]) -> None:
    parts = parse_filename(case["file"])

    expected = {name: case["expect"][name] for name in FIELDS if name in case["expect"]}
    assert {name: getattr(parts, FIELDS[name]) or None for name in expected} == {
        name: value or None for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("stem", "expected"),  # family, version, variant, size_text, quantization
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M", ("llama", "3.2", "", "1p0b", "Q4_K_M")),
        ("llama_2_7b_chat.Q4_K_M", ("llama", "2", "", "7p0b", "Q4_K_M")),
        ("gemma-2-9b-it-IQ3_XXS", ("gemma", "2", "", "9p0b", "IQ3_XXS")),
        ("gemma-3n-E4B-it-Q8_0", ("gemma", "", "3n", "4p0b", "Q8_0")),
        ("phi-4-Q4_K_M", ("phi", "4", "", "", "Q4_K_M")),
        ("granite-3.3-2b-instruct-BF16", ("granite", "3.3", "", "2p0b", "BF16")),
        ("DeepSeek-V3-0324-Q2_K_L", ("deepseek", "", "V3 0324", "", "Q2_K_L")),
        ("bge-m3-FP16", ("bge", "", "m3", "", "F16")),
        ("Qwen3-Embedding-0.6B-Q8_0", ("qwen", "3", "Embedding", "0p6b", "Q8_0")),
        ("Qwen3-Reranker-0.6B-f32", ("qwen", "3", "Reranker", "0p6b", "F32")),
        ("nomic-embed-text-v1.5.Q4_0", ("nomic", "", "embed text v1.5", "", "Q4_0")),
        (
            "Mistral-Small-3.2-24B-Instruct-2506-UD-Q4_K_XL",
            ("mistral", "", "Small 3.2", "24p0b", "Q4_K_XL"),
        ),
        ("gpt-oss-20b-MXFP4", ("gpt", "", "oss", "20p0b", "MXFP4")),
        ("gpt-oss-120b-mxfp4_moe", ("gpt", "", "oss", "120p0b", "MXFP4_MOE")),
        ("BitNet-b1.58-2B-TQ1_0", ("bitnet", "", "b1.58", "2p0b", "TQ1_0")),
        ("unsloth_Qwen3-8B-Q6_K", ("qwen", "3", "", "8p0b", "Q6_K")),
        ("bartowski_Qwen_Qwen3-8B-Q6_K", ("qwen", "3", "", "8p0b", "Q6_K")),
        ("Qwen_QwQ-32B-IQ1_S", ("qwq", "", "", "32p0b", "IQ1_S")),
        ("Qwen_2.5_7b_q4_k_m", ("qwen", "2.5", "", "7p0b", "Q4_K_M")),
        ("google_gemma-3-4b-it-Q4_1", ("gemma", "3", "", "4p0b", "Q4_1")),
        ("ibm-granite_granite-4.0-h-tiny-Q5_0", ("granite", "4.0", "h tiny", "", "Q5_0")),
        (
            "deepseek-ai_DeepSeek-R1-Distill-Llama-8B-Q4_0",
            ("deepseek", "", "R1 Distill Llama", "8p0b", "Q4_0"),
        ),
        ("stablelm-2-zephyr-1_6b-Q4_0", ("stablelm", "2", "zephyr", "1p6b", "Q4_0")),
        (
            "nvidia_Llama-3_1-Nemotron-70B-IQ4_NL",
            ("llama", "3.1", "Nemotron", "70p0b", "IQ4_NL"),
        ),
        ("tinyllama-1.1b-chat-v1.0.Q3_K_L", ("tinyllama", "", "", "1p1b", "Q3_K_L")),
        ("Mixtral-8x22B-v0.1.i1-Q2_K_S", ("mixtral", "", "", "8x22b", "Q2_K_S")),
        ("Model.Q4_0_4_4", ("", "", "", "", "Q4_0_4_4")),
        ("Phi-3-mini-128k-instruct-q4", ("phi", "3", "mini 128k q4", "", "")),
        ("gpt-oss-20b-F16-Q4_K_M", ("gpt", "", "oss", "20p0b", "Q4_K_M")),
        ("ggml-model-q4_0", ("", "", "", "", "Q4_0")),
        ("7B", ("", "", "", "7p0b", "")),
        ("", ("", "", "", "", "")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_takes_other_names_apart(stem: str, expected: tuple[str, ...]) -> None:
    parts = parse_filename(f"{stem}.gguf")

    assert (
        parts.family,
        parts.version,
        parts.variant,
        parts.size_text,
        parts.quantization,
    ) == expected


@pytest.mark.parametrize(
    ("name", "size_params", "active_params"),
    [
        pytest.param("Qwen3-0.6B", 0.6, None, id="half a billion"),
        pytest.param("SmolLM2-360M", 0.36, None, id="millions"),
        pytest.param("Qwen3-235B-A22B", 235.0, 22.0, id="active parameters"),
        pytest.param("Qwen1.5-MoE-A2.7B", None, 2.7, id="active parameters only"),
        pytest.param("Dolphin-2x1.5B", 3.0, None, id="experts"),
        pytest.param("Kimi-K2-1T", 1000.0, None, id="a trillion"),
        pytest.param("Llama-4-Scout-17B-16E", 17.0, None, id="number of experts"),
        pytest.param("Yi-34B-200K", 34.0, None, id="context is no size"),
        pytest.param("Phi-3-128k", None, None, id="context alone"),
        pytest.param("model-4bit", None, None, id="bits"),
        pytest.param("zero-0B", None, None, id="nothing at all"),
    ],
)
def test_reads_sizes(name: str, size_params: float | None, active_params: float | None) -> None:
    parts = parse_filename(f"{name}-Q4_K_M.gguf")

    assert (parts.size_params, parts.active_params) == (size_params, active_params)


@pytest.mark.parametrize(
    "name",
    [
        "DeepSeek-R1-0528-Qwen3-8B",
        "deepseek_r1_distill_llama_8b",
        "DeepSeek-R1T2-Chimera",
        "Marco-o1",
        "QwQ-32B",
        "Qwen3-4B-Thinking-2507",
        "OpenThinker3-7B",
        "Phi-4-reasoning-plus",
        "DeepSeek-Reasoner",
        "Magistral-Small-2506",
        "GLM-Z1-9B-0414",
    ],
)
def test_thinks_by_name(name: str) -> None:
    assert parse_filename(f"{name}-Q4_K_M.gguf").is_thinking


@pytest.mark.parametrize(
    "name",
    [
        "Qwen3-4B",
        "command-r-v01-35B",
        "Qwen3-4B-no-think",
        "Qwen3-8B-non-thinking",
        "Mistral-Small-3.2-24B",
        "aya-expanse-8b",
        "zephyr-o10-7b",
        "mixtral-r10-7b",
        "unreasonable-7b",
    ],
)
def test_does_not_think_by_name(name: str) -> None:
    assert not parse_filename(f"{name}-Q4_K_M.gguf").is_thinking


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        pytest.param(["deep"], "Qwen3-Deep-4B", True, id="a whole token in either case"),
        pytest.param(["deep"], "Deepseek-7B", False, id="not the beginning of one"),
        pytest.param(["deep*"], "Deepseek-7B", True, id="the beginning"),
        pytest.param(["*seek"], "Deepseek-7B", True, id="the end"),
        pytest.param(["*PSE*"], "Deepseek-7B", True, id="the middle"),
        pytest.param(["Deep…"], "Deepseek-7B", True, id="as the guide writes it"),
        pytest.param(["k2*"], "Kimi-K2-1T", True, id="a number"),
        pytest.param(["k2*"], "Kimi-K20-1T", False, id="no longer number"),
        pytest.param(["a.b"], "Kimi-axb-1T", False, id="a dot is a dot"),
        pytest.param(["k*2"], "Kimi-K1.2-1T", False, id="a star inside is no wildcard"),
        pytest.param(["deep", " QWQ* "], "QwQ-32B", True, id="one of several"),
        pytest.param(["", " ", "*"], "QwQ-32B", False, id="words of nothing"),
        pytest.param([], "DeepSeek-R1-8B", False, id="no words"),
        pytest.param(["deep"], "Qwen3-not-deep-4B", False, id="negated"),
    ],
)
def test_a_person_may_change_the_words_of_thinking(
    words: list[str], name: str, expected: bool
) -> None:
    assert parse_filename(f"{name}-Q4_K_M.gguf", words).is_thinking is expected


@pytest.mark.parametrize(
    ("name", "expected"),  # family, version, variant, size_text, quantization
    [
        ("qwen3:4b-instruct-q4_K_M", ("qwen", "3", "", "4p0b", "Q4_K_M")),
        ("llama3.2:latest", ("llama", "3.2", "", "", "")),
        ("Qwen3-4B-GGUF:Q4_K_M", ("qwen", "3", "", "4p0b", "Q4_K_M")),
        ("gemma2-2b-it-sfp.sbs", ("gemma", "2", "", "2p0b", "SFP")),
        ("7b-it-nuq.SBS", ("", "", "", "7p0b", "NUQ")),
    ],
)
def test_takes_the_names_of_ollama_and_gemma_apart(
    name: str, expected: tuple[str, str, str, str, str]
) -> None:
    parts = parse_filename(name)

    assert (
        parts.family, parts.version, parts.variant, parts.size_text, parts.quantization
    ) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("name", "is_coder", "is_instruct"),
    [
        pytest.param("codellama-7b-instruct", True, True, id="codellama"),
        pytest.param("starcoder2-3b", True, False, id="starcoder with its version"),
        pytest.param("Devstral-Small-2507", True, False, id="devstral"),
        pytest.param("Codestral-22B-v0.1", True, False, id="codestral"),
        pytest.param("granite-8b-code-base", True, False, id="code"),
        pytest.param("DeepSeek-Coder-V2-Lite-Instruct", True, True, id="coder"),
        pytest.param("cross-encoder-7b", False, False, id="encoder"),
        pytest.param("gemma-2-2b-it", False, True, id="it"),
        pytest.param("Llama-2-7b-chat-hf", False, True, id="chat"),
        pytest.param("Italian-7b", False, False, id="a word that begins like it"),
    ],
)
def test_knows_coders_and_assistants(name: str, is_coder: bool, is_instruct: bool) -> None:
    parts = parse_filename(f"{name}.Q5_K_M.gguf")

    assert (parts.is_coder, parts.is_instruct) == (is_coder, is_instruct)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        pytest.param("mmproj-model-f16", {"is_projector"}, id="projector"),
        pytest.param("Qwen2.5-VL-7B-mmproj-BF16", {"is_projector"}, id="projector at the end"),
        pytest.param("Model.imatrix", {"is_imatrix"}, id="imatrix"),
        pytest.param("Model-Q4_K_M-imatrix", set(), id="quantised with an imatrix"),
        pytest.param("llama-lora-F16", {"is_adapter"}, id="adapter"),
        pytest.param("nomic-embed-text", {"is_embedding"}, id="embed"),
        pytest.param("Qwen3-Embedding", {"is_embedding"}, id="embedding"),
        pytest.param("bge-reranker-v2-m3", {"is_reranker"}, id="reranker"),
    ],
)
def test_knows_what_else_a_file_may_be(name: str, facts: set[str]) -> None:
    parts = parse_filename(f"{name}.GGUF")

    asked = ("is_projector", "is_imatrix", "is_adapter", "is_embedding", "is_reranker")
    assert {fact for fact in asked if getattr(parts, fact)} == facts


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        pytest.param("Grok-100B-Q4_0-00003-of-00009", Shard(3, 9), id="third of nine"),
        pytest.param("Grok-100B-Q4_0", None, id="not split"),
        pytest.param("Grok-3-of-9", None, id="not five digits"),
        pytest.param("Grok-00000-of-00009", None, id="number zero"),
        pytest.param("Grok-00010-of-00009", None, id="tenth of nine"),
    ],
)
def test_reads_shards(stem: str, expected: Shard | None) -> None:
    assert parse_filename(f"{stem}.gguf").shard == expected


def test_shards_of_a_model_share_their_stem() -> None:
    assert split_stem("Grok-Q4_0-00003-of-00009.gguf") == "Grok-Q4_0"
    assert split_stem("Grok-Q4_0.GGUF") == "Grok-Q4_0"


@given(st.text(max_size=255))
def test_any_text_has_an_answer_that_fits_a_row(name: str) -> None:
    parts = parse_filename(name)

    assert (len(parts.family) <= 40, len(parts.version) <= 16, len(parts.variant) <= 80) == (
        True,
        True,
        True,
    )


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=60))
def test_any_words_of_thinking_have_an_answer(words: list[str], name: str) -> None:
    assert parse_filename(name, words).is_thinking in {True, False}


@given(st.text(alphabet="aqk0123456789_-.xbmXBM", max_size=120))
def test_names_made_of_sizes_and_encodings_have_an_answer(name: str) -> None:
    assert parse_filename(f"{name}.gguf").family.islower() or not parse_filename(name).family
