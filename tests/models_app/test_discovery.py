import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from models_app.discovery import DIRECTORY, HUGGINGFACE, RootSpec, detect_kind, discover
from models_app.errors import ScanRootError
from models_app.naming import make_model_id
from models_app.tiers import assign_tier
from tests.models_app.ggufs import write_gguf
from tests.models_app.scans import PROJECTOR, complete_gguf, only_model, reasons, scan

CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("discovery_cases.json").read_text("utf-8")
)


# The specification's cases, each as a real file.


def write_case(folder: Path, case: dict[str, Any]) -> Path:
    path = folder / str(case["file"])
    if case.get("skipped") == "zero bytes":
        path.touch()
    elif case.get("skipped") == "not a GGUF file":
        path.write_text("These are my notes.")
    else:
        write_gguf(path, PROJECTOR if "mmproj" in path.name else None)
    return path


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["file"]) for case in CASES if "expect" in case]
)
def test_files_of_the_specification_come_out_as_it_says(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    write_case(tmp_path, case)

    model = only_model(scan(tmp_path))

    tier = assign_tier(
        model.size_params, model.quantization, is_thinking=model.is_thinking_model
    )
    outcome = asdict(model) | {
        "version": model.version or None,
        "assigned_tier": tier,
        "model_id": make_model_id(model, tier),
    }
    assert {name: outcome[name] for name in case["expect"]} == case["expect"]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["file"]) for case in CASES if "skipped" in case]
)
def test_files_of_the_specification_are_skipped_as_it_says(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    path = write_case(tmp_path, case)

    found = scan(tmp_path)

    assert found.models == []
    assert reasons(found)[path.name].startswith(case["skipped"])


# One file, one place in the report.


def test_accounts_for_every_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a/Qwen3-4B-Q4_K_M.gguf")
    write_gguf(tmp_path / "UPPER-7B-Q8_0.GGUF")
    write_gguf(tmp_path / "old-7b-q4_0.gguf", version=7)
    write_gguf(tmp_path / "ggml-vocab-qwen2.gguf", tensors=())
    write_gguf(tmp_path / "nothing.gguf", {"general.architecture": "llama"}, ())
    write_gguf(tmp_path / "lora.gguf", {"general.type": "adapter"})
    write_gguf(tmp_path / "old-lora.gguf", {"general.architecture": "llama"})
    write_gguf(tmp_path / "Qwen3.imatrix.gguf", {"general.type": "imatrix"})
    write_gguf(tmp_path / "vision.gguf", PROJECTOR)
    (tmp_path / "half.gguf").write_bytes(complete_gguf()[:-512])
    (tmp_path / "late.gguf.part").write_bytes(b"GGUF")
    (tmp_path / "late.gguf.incomplete").write_bytes(b"GGUF")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.gguf").symlink_to(tmp_path / "circle.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "README.md").write_text("not a model, not looked at")

    found = scan(tmp_path)

    assert {model.filename for model in found.models} == {
        "Qwen3-4B-Q4_K_M.gguf",
        "UPPER-7B-Q8_0.GGUF",
    }
    size = len(complete_gguf()) - 512
    assert reasons(found) == {
        "old-7b-q4_0.gguf": "unsupported GGUF version 7",
        "ggml-vocab-qwen2.gguf": "vocabulary only",
        "nothing.gguf": "no tensors",
        "lora.gguf": "adapter",
        "old-lora.gguf": "adapter",
        "Qwen3.imatrix.gguf": "imatrix",
        "vision.gguf": "projector",
        "half.gguf": f"truncated: {size:,} bytes of {size + 512:,}",
        "late.gguf.part": "incomplete download",
        "late.gguf.incomplete": "incomplete download",
        "gone.gguf": "broken link",
        "circle.gguf": "symlink loop",
        "pipe.gguf": "not a regular file",
    }
    assert found.files_seen == 15


def test_tells_of_each_file_while_it_goes(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a-1b-q4_0.gguf")
    (tmp_path / "b.gguf").touch()
    told: list[tuple[str, int]] = []

    scan(tmp_path, on_file=lambda path, seen: told.append((path.name, seen)))

    assert sorted(name for name, _ in told) == ["a-1b-q4_0.gguf", "b.gguf"]
    assert [seen for _, seen in told] == [1, 2]


def test_a_name_that_is_not_utf_8_is_skipped(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a-1b-q4_0.gguf")
    write_gguf(tmp_path / os.fsdecode(b"\xff.gguf"))

    found = scan(tmp_path)

    assert only_model(found).filename == "a-1b-q4_0.gguf"
    assert reasons(found) == {"\ufffd.gguf": "its name is not UTF-8"}


def test_links_and_hard_links_to_one_file_are_one_model(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "a-1b-q4_0.gguf")
    (tmp_path / "b-1b-q4_0.gguf").hardlink_to(first)
    (tmp_path / "c-1b-q4_0.gguf").symlink_to(first)

    found = scan(tmp_path)

    assert only_model(found).file_path == first
    assert reasons(found) == {
        "b-1b-q4_0.gguf": f"duplicate of {first}",
        "c-1b-q4_0.gguf": f"duplicate of {first}",
    }


def test_overlapping_roots_register_a_file_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "sub/a-1b-q4_0.gguf")

    found = discover([RootSpec(tmp_path, DIRECTORY), RootSpec(tmp_path / "sub", DIRECTORY)])

    assert only_model(found).root_path == tmp_path
    assert found.skipped[0].reason.startswith("duplicate of")


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "sub/a-1b-q4_0.gguf")
    (tmp_path / "sub/again").symlink_to(tmp_path)

    found = scan(tmp_path)

    assert len(found.models) == 1
    assert found.skipped == []


def test_a_linked_folder_is_looked_into(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "elsewhere/a-1b-q4_0.gguf")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/models").symlink_to(tmp_path / "elsewhere")

    model = only_model(scan(tmp_path / "root"))

    assert model.file_path == tmp_path / "root/models/a-1b-q4_0.gguf"
    assert (model.blob_path, model.identity) == (path, str(path))


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.glob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def without_rights_of_root() -> Iterator[None]:
    """Run as nobody where the tests are run by root, whom no mode bit stops."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_what_may_not_be_read_is_reported_and_the_rest_scanned(public_folder: Path) -> None:
    write_gguf(public_folder / "a-1b-q4_0.gguf").chmod(0o644)
    write_gguf(public_folder / "b-1b-q4_0.gguf").chmod(0o000)
    write_gguf(public_folder / "closed/c-1b-q4_0.gguf").parent.chmod(0o000)

    with without_rights_of_root():
        found = scan(public_folder)

    assert only_model(found).filename == "a-1b-q4_0.gguf"
    assert reasons(found) == {"b-1b-q4_0.gguf": "permission denied"}
    assert found.root_errors == [(public_folder / "closed", "permission denied")]


def test_a_root_that_is_gone_is_reported_and_the_others_scanned(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a-1b-q4_0.gguf")
    gone = tmp_path / "gone"

    found = discover([RootSpec(gone, HUGGINGFACE), RootSpec(tmp_path, DIRECTORY)])

    assert found.root_errors == [(gone, "no such folder")]
    assert len(found.models) == 1


def test_a_folder_with_repos_in_it_is_a_cache(tmp_path: Path) -> None:
    assert detect_kind(tmp_path) == DIRECTORY
    (tmp_path / "models--Qwen--Qwen3-4B-GGUF").mkdir()
    assert detect_kind(tmp_path) == HUGGINGFACE
    with pytest.raises(ScanRootError, match="no such folder"):
        detect_kind(tmp_path / "gone")
