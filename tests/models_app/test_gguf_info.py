from pathlib import Path
from typing import Any

import pytest

from models_app.gguf import read_gguf
from tests.models_app import ggufs
from tests.models_app.ggufs import TEXT_MODEL, Typed, write_gguf


def test_wrong_types_of_known_keys_read_as_unknown(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "llama",
        "general.name": 7,
        "llama.context_length": "many",
        "llama.block_count": -1.0,
        "llama.embedding_length": Typed(ggufs.U64, 2**64 - 1),
        "llama.attention.head_count": True,
    }

    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert (info.name, info.context_length, info.block_count) == ("", None, None)
    assert (info.embedding_length, info.head_count, info.key_length) == (None, None, None)


def test_reads_kv_heads_that_differ_by_layer(tmp_path: Path) -> None:
    uniform = TEXT_MODEL | {"llama.attention.head_count_kv": [2, 2]}
    mixed = TEXT_MODEL | {"llama.attention.head_count_kv": [0, 8]}

    first = read_gguf(write_gguf(tmp_path / "1.gguf", uniform))
    second = read_gguf(write_gguf(tmp_path / "2.gguf", mixed))

    assert first.head_count_kv == 2
    assert second.head_count_kv == (0, 8)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"general.base_model.0.name": "Qwen3 4B"}, "Qwen3 4B", id="name"),
        pytest.param(
            {"general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen3-4B"},
            "Qwen/Qwen3-4B",
            id="repo",
        ),
        pytest.param({}, "", id="none"),
    ],
)
def test_names_the_base_model(tmp_path: Path, metadata: dict[str, Any], expected: str) -> None:
    assert read_gguf(write_gguf(tmp_path / "m.gguf", metadata)).base_model == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"general.license": "apache-2.0"}, "apache-2.0", id="identifier"),
        pytest.param(
            {"general.license": "other", "general.license.name": "qwen-research"},
            "qwen-research",
            id="one of its own",
        ),
        pytest.param({"general.license": "other"}, "other", id="other, unnamed"),
        pytest.param({}, "", id="none"),
    ],
)
def test_names_the_licence(tmp_path: Path, metadata: dict[str, Any], expected: str) -> None:
    assert read_gguf(write_gguf(tmp_path / "m.gguf", metadata)).license == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"tokenizer.chat_template": "{% if tools %}"}, True, id="in the template"),
        pytest.param(
            {"tokenizer.chat_template": "x", "tokenizer.chat_template.tool_use": "y"},
            True,
            id="in a template of its own",
        ),
        pytest.param({"tokenizer.chat_template": "{{ messages }}"}, False, id="none"),
    ],
)
def test_says_whether_tools_can_be_used(
    tmp_path: Path, metadata: dict[str, Any], expected: bool
) -> None:
    info = read_gguf(write_gguf(tmp_path / "m.gguf", metadata))

    assert info.supports_tools is expected


def test_a_mixture_has_more_than_one_expert(tmp_path: Path) -> None:
    mixture = TEXT_MODEL | {"llama.expert_count": 8, "llama.expert_used_count": 2}

    info = read_gguf(write_gguf(tmp_path / "m.gguf", mixture))

    assert info.is_moe
    assert (info.expert_count, info.expert_used_count) == (8, 2)
    assert not read_gguf(write_gguf(tmp_path / "dense.gguf")).is_moe
