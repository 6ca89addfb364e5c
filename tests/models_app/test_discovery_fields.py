import os
from pathlib import Path
from typing import Any

import pytest

from models_app.discovery import HUGGINGFACE
from tests.models_app.ggufs import TEXT_MODEL, Tensor, write_gguf
from tests.models_app.scans import (
    PROJECTOR,
    add_to_cache,
    complete_gguf,
    known_of,
    only_model,
    scan,
    set_main,
    write_shards,
)

WIDE = (Tensor("blk.0.w", (5000, 1000)),)


@pytest.mark.parametrize(
    ("filename", "metadata", "expected"),
    [
        pytest.param("a.gguf", {}, "text", id="text"),
        pytest.param("a.gguf", {"general.architecture": "bert"}, "embedding", id="encoder"),
        pytest.param(
            "a.gguf",
            {"general.architecture": "qwen3", "qwen3.pooling_type": 3},
            "embedding",
            id="pools",
        ),
        pytest.param(
            "a.gguf",
            {"general.architecture": "bert", "bert.pooling_type": 4},
            "reranker",
            id="ranks",
        ),
        pytest.param("Qwen3-Embedding-0.6B-Q8_0.gguf", {}, "embedding", id="by name"),
        pytest.param("Qwen3-Reranker-0.6B-Q8_0.gguf", {}, "reranker", id="reranker by name"),
        pytest.param(
            "bge-reranker-v2-m3.gguf",
            {"general.architecture": "bert", "bert.pooling_type": 2},
            "reranker",
            id="an encoder that does not say it ranks",
        ),
    ],
)
def test_kind(tmp_path: Path, filename: str, metadata: dict[str, Any], expected: str) -> None:
    write_gguf(tmp_path / filename, metadata)

    assert only_model(scan(tmp_path)).kind == expected


@pytest.mark.parametrize(
    ("filename", "metadata", "expected"),  # size_params, size_text, quantization
    [
        pytest.param(
            "Phi-4.gguf",
            {"general.size_label": "14.7B", "general.file_type": 15},
            (14.7, "14p7b", "Q4_K_M"),
            id="label and file type of the header",
        ),
        pytest.param(
            "Qwen3.gguf",
            {"general.size_label": "30B-A3B", "general.file_type": 1024 + 7},
            (30.0, "30p0b", "Q8_0"),
            id="label with active parameters, guessed file type",
        ),
        pytest.param("Phi-4.gguf", {}, (0.005, "5m", "F32"), id="the tensors"),
    ],
)
def test_the_header_says_what_the_name_does_not(
    tmp_path: Path, filename: str, metadata: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    write_gguf(tmp_path / filename, metadata, WIDE)

    model = only_model(scan(tmp_path))

    assert (model.size_params, model.size_text, model.quantization) == expected


def test_the_header_names_a_model_whose_file_does_not(tmp_path: Path) -> None:
    write_gguf(tmp_path / "ggml-model-q4_0.gguf", {"general.name": "Qwen2.5 Coder 7B"})
    write_gguf(tmp_path / "7B.gguf", {"general.architecture": "llama"})
    write_gguf(tmp_path / "8B.gguf", {})

    found = scan(tmp_path)

    assert {(model.filename, model.family, model.version) for model in found.models} == {
        ("ggml-model-q4_0.gguf", "qwen", "2.5"),
        ("7B.gguf", "llama", ""),
        ("8B.gguf", "unknown", ""),
    }


def test_a_template_with_a_switch_supports_thinking_and_is_no_thinking_model(
    tmp_path: Path,
) -> None:
    template = "{%- if enable_thinking is defined and enable_thinking is false %}"
    write_gguf(tmp_path / "Qwen3-4B-Q4_K_M.gguf", {"tokenizer.chat_template": template})

    model = only_model(scan(tmp_path))

    assert (model.supports_thinking, model.is_thinking_model) == (True, False)
    assert model.chat_template == template


@pytest.mark.parametrize(
    ("filename", "file_type", "warnings"),
    [
        pytest.param("a-1b-Q4_K_M.gguf", 14, (), id="Q4_K_M is Q4_K_S nearly"),
        pytest.param("a-1b-IQ4_XS.gguf", 15, (), id="a quarter of a bit"),
        pytest.param(
            "a-1b-Q8_0.gguf", 15, ("the name says Q8_0, the header Q4_K_M",), id="half of it"
        ),
        pytest.param("a-1b-Q8_0.gguf", 9999, (), id="a file type that is too new"),
    ],
)
def test_warns_when_name_and_header_disagree(
    tmp_path: Path, filename: str, file_type: int, warnings: tuple[str, ...]
) -> None:
    write_gguf(tmp_path / filename, {"general.file_type": file_type})

    assert only_model(scan(tmp_path)).warnings == warnings


def test_warns_of_tensor_types_that_are_too_new(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a-1b-Q8_0.gguf", tensors=[Tensor("a", (64,), type_id=999)])

    (warning,) = only_model(scan(tmp_path)).warnings

    assert warning == "tensors of type 999, which MAGI does not know"


# Rescans.


def test_an_unchanged_file_is_not_opened_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a-1b-q4_0.gguf")
    known = known_of(scan(tmp_path))
    status = path.stat()
    path.write_bytes(b"junk" + path.read_bytes()[4:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    found = scan(tmp_path, known=known)

    assert (found.unchanged, found.models, found.files_seen) == ([str(path)], [], 1)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a-1b-q4_0.gguf")
    known = known_of(scan(tmp_path))
    write_gguf(path, TEXT_MODEL | {"general.name": "new"})

    found = scan(tmp_path, known=known)

    assert (only_model(found).name, found.unchanged) == ("new", [])


def test_a_shard_that_has_come_completes_its_model(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 2])
    known = known_of(scan(tmp_path))
    write_shards(tmp_path, [3])

    assert only_model(scan(tmp_path, known=known)).problem == ""


def test_a_projector_that_has_come_or_gone_changes_its_model(tmp_path: Path) -> None:
    write_gguf(tmp_path / "Qwen3-VL-4B-Q4_0.gguf")
    before = known_of(scan(tmp_path))
    projector = write_gguf(tmp_path / "mmproj-F16.gguf", PROJECTOR)

    come = scan(tmp_path, known=before)
    stayed = scan(tmp_path, known=known_of(come))
    projector.unlink()
    gone = scan(tmp_path, known=known_of(come))

    assert only_model(come).kind == "vision"
    assert (len(stayed.unchanged), stayed.models) == (1, [])
    assert only_model(gone).kind == "text"


def test_a_new_revision_of_the_same_blob_moves_the_launch_path(tmp_path: Path) -> None:
    content = complete_gguf()
    add_to_cache(tmp_path, "a/b", "r1", "m-4B-Q4_0.gguf", content, blob="same")
    known = known_of(scan(tmp_path, HUGGINGFACE))
    blob = tmp_path / "models--a--b/blobs/same"
    link = tmp_path / "models--a--b/snapshots/r2/m-4B-Q4_0.gguf"
    link.parent.mkdir()
    link.symlink_to(blob)
    set_main(tmp_path, "a/b", "r2")

    found = scan(tmp_path, HUGGINGFACE, known=known)

    assert only_model(found).file_path == link
    assert only_model(found).identity in known
