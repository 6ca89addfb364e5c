import os
import struct
from pathlib import Path

import pytest

from models_app.discovery import DIRECTORY, GEMMA, detect_kind
from models_app.naming import make_model_id
from tests.models_app.ggufs import write_gguf
from tests.models_app.scans import only_model, reasons, rescan, scan

PROBLEM = "gemma.cpp weights: llama-server cannot load them"


def weights(size: int = 512, *, is_second_layout: bool = False) -> bytes:
    """Return weights as gemma.cpp writes them, with nothing but zeros in them."""
    header = struct.pack("<4sIQ", b"SBS\n", 7, size)  # magic, blob count, size of the file
    if not is_second_layout:
        return header + bytes(size - len(header))
    begin = struct.pack("<4sIQ", b"SBS\n", 0, 65_536)
    return begin + bytes(size - len(begin) - len(header)) + header


def write_pair(folder: Path, name: str = "2b-it.sbs", content: bytes = b"") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.spm").write_bytes(b"\n")
    path = folder / name
    path.write_bytes(content or weights())
    return path


def test_weights_are_a_model_that_llama_server_cannot_load(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "gemma-gemmacpp-2b-it-v3")

    found = scan(tmp_path, GEMMA)

    model = only_model(found)
    assert (model.kind, model.problem, model.warnings) == ("text", PROBLEM, ())
    assert model.identity == str(path)
    assert (model.file_path, model.filename, model.size_bytes) == (path, "2b-it.sbs", 512)
    assert reasons(found) == {"tokenizer.spm": "tokenizer"}
    assert found.files_seen == 2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gemma-gemmacpp-2b-it-v3/2b-it.sbs", "gemma_2p0b_balanced"),
        ("gemma-3-gemmaCpp-3.0-4b-it-sfp-v1/4b-it-sfp.sbs", "gemma3_4p0b_sfp_balanced"),
        ("gemma2-2b-it-sfp.sbs", "gemma2_2p0b_sfp_balanced"),
        ("paligemma2-3b/3b-nuq.sbs", "paligemma2_3p0b_nuq_balanced"),
        ("a/paligemma-3b-mix-224-sfp.sbs", "paligemma_3p0b_sfp_balanced"),
        ("models/7b.sbs", "gemma_7p0b_balanced"),
        ("gemma3-1b/SFP.SBS", "gemma3_1p0b_sfp_balanced"),
    ],
)
def test_file_and_folder_make_the_id(tmp_path: Path, path: str, expected: str) -> None:
    write_pair((tmp_path / path).parent, Path(path).name)

    model = only_model(scan(tmp_path, GEMMA))

    assert make_model_id(model, "balanced") == expected


def test_weights_without_a_tokenizer_are_told_of(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "a")
    path.rename(tmp_path / "2b-it.sbs")

    found = scan(tmp_path, GEMMA)

    assert only_model(found).warnings == ("no tokenizer (*.spm) beside it",)
    assert reasons(found) == {"tokenizer.spm": "tokenizer without weights"}


def test_a_tokenizer_that_comes_later_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "2b-it.sbs").write_bytes(weights())
    first = scan(tmp_path, GEMMA)
    (tmp_path / "tokenizer.spm").write_bytes(b"\n")

    found = rescan(first, tmp_path, GEMMA)

    assert only_model(found).warnings == ()


def test_unchanged_weights_are_not_read_again(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    first = scan(tmp_path, GEMMA)

    found = rescan(first, tmp_path, GEMMA)

    assert found.unchanged == [str(path)]
    assert found.files_seen == 2


def test_the_second_layout_is_read_from_its_end(tmp_path: Path) -> None:
    write_pair(tmp_path, content=weights(is_second_layout=True))

    assert only_model(scan(tmp_path, GEMMA)).problem == PROBLEM


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "zero bytes", id="zero bytes"),
        pytest.param(b"SBS", "truncated: its header does not end", id="three bytes"),
        pytest.param(bytes(512), "not gemma.cpp weights", id="other magic"),
        pytest.param(weights()[:-1], "truncated: 511 bytes of 512", id="half a download"),
        pytest.param(
            weights(is_second_layout=True)[:-1],
            "truncated: its directory is missing",
            id="half a download of the second layout",
        ),
    ],
)
def test_broken_weights_are_skipped(tmp_path: Path, content: bytes, reason: str) -> None:
    write_pair(tmp_path)
    (tmp_path / "broken.sbs").write_bytes(content)

    found = scan(tmp_path, GEMMA)

    assert only_model(found).filename == "2b-it.sbs"
    assert reasons(found)["broken.sbs"] == reason


def test_gguf_files_beside_them_are_found_as_well(tmp_path: Path) -> None:
    write_pair(tmp_path / "gemma")
    write_gguf(tmp_path / "Qwen3-4B-Q4_0.gguf")
    (tmp_path / "late.sbs.part").touch()
    os.mkfifo(tmp_path / "pipe.sbs")

    found = scan(tmp_path, GEMMA)

    assert {model.family for model in found.models} == {"gemma", "qwen"}
    assert reasons(found) == {
        "tokenizer.spm": "tokenizer",
        "late.sbs.part": "incomplete download",
        "pipe.sbs": "not a regular file",
    }


def test_plain_folders_do_not_list_them(tmp_path: Path) -> None:
    write_pair(tmp_path)

    assert scan(tmp_path, DIRECTORY).files_seen == 0


def test_a_folder_with_weights_in_it_is_gemmas(tmp_path: Path) -> None:
    write_pair(tmp_path)

    assert detect_kind(tmp_path) == GEMMA
