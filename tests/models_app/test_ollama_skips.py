import json
import os
from pathlib import Path
from typing import Any

import pytest

from models_app.discovery import OLLAMA
from models_app.ollama import MAX_MANIFEST_BYTES
from tests.models_app.scans import (
    LIBRARY,
    add_blob,
    add_model,
    add_tag,
    blob_of,
    complete_gguf,
    manifest_list,
    manifest_of,
    only_model,
    reasons,
    scan,
)


def layers_of(digest: object) -> dict[str, Any]:
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
    return {"layers": [model]}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        pytest.param(b"", "its manifest is not JSON", id="empty"),
        pytest.param(b"\xff\xfe", "its manifest is not JSON", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "its manifest is not JSON", id="nested deeply"),
        pytest.param(b"1" * 10_000, "its manifest is not JSON", id="an enormous number"),
        pytest.param([], "its manifest is not an object", id="a list"),
        pytest.param({"layers": None}, "its manifest has no layers", id="no layers"),
        pytest.param({"layers": ["?", 1]}, "its manifest names no model", id="odd layers"),
        pytest.param(
            manifest_of(tensor=f"sha256:{'0' * 64}"),
            "safetensors weights: llama-server cannot load them",
            id="safetensors",
        ),
        pytest.param(
            manifest_list({"runner": "mlx"}),
            "it has weights for other runners only: llama-server cannot load them",
            id="for MLX",
        ),
        pytest.param(
            layers_of("sha256:../../../../etc/passwd"),
            "its manifest has a malformed digest",
            id="a path for a digest",
        ),
        pytest.param(
            layers_of(f"sha256-{'0' * 64}/../x"),
            "its manifest has a malformed digest",
            id="a path behind a digest",
        ),
        pytest.param(
            layers_of(["sha256"]), "its manifest has a malformed digest", id="no text"
        ),
        pytest.param(
            layers_of(f"sha256:{'0' * 64}"),
            "incomplete: its blob sha256-000000000000… is missing",
            id="missing blob",
        ),
        pytest.param(
            b" " * (MAX_MANIFEST_BYTES + 1),
            f"its manifest is longer than {MAX_MANIFEST_BYTES:,} bytes",
            id="too long",
        ),
    ],
)
def test_a_manifest_without_a_model_is_skipped_and_the_rest_scanned(
    tmp_path: Path, manifest: object, reason: str
) -> None:
    add_model(tmp_path)
    raw = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    add_tag(tmp_path, f"{LIBRARY}/bad:1b", None).write_bytes(raw)

    found = scan(tmp_path, OLLAMA)

    assert only_model(found).repo_id == "qwen3:4b"
    assert reasons(found) == {"1b": reason}


def test_a_manifest_of_enormous_size_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = add_model(tmp_path)
    os.truncate(path, 2**40)

    assert reasons(scan(tmp_path, OLLAMA))["4b"].startswith("its manifest is longer than ")


@pytest.mark.parametrize("target", ["pipe", "device", "nothing", "itself", "folder"])
def test_a_manifest_that_is_no_file_does_not_stop_a_scan(tmp_path: Path, target: str) -> None:
    add_model(tmp_path)
    path = tmp_path / "manifests" / LIBRARY / "odd/1b"
    path.parent.mkdir()
    if target == "pipe":
        os.mkfifo(path)
    else:
        targets = {"device": "/dev/zero", "nothing": "gone", "itself": "1b", "folder": "/dev"}
        path.symlink_to(targets[target])

    found = scan(tmp_path, OLLAMA)

    expected = {
        "pipe": "not a regular file",
        "device": "not a regular file",
        "nothing": "broken link",
        "itself": "symlink loop",
        "folder": "not an Ollama manifest: a folder",
    }
    assert len(found.models) == 1
    assert reasons(found) == {"1b": expected[target]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(complete_gguf()[:-512], "truncated: ", id="truncated"),
        pytest.param(b"", "zero bytes", id="zero bytes"),
        pytest.param(b"PK\3\4", "not a GGUF file", id="not GGUF"),
        pytest.param(complete_gguf({"general.type": "adapter"}), "adapter", id="an adapter"),
    ],
)
def test_a_bad_blob_is_reported_by_its_tag(tmp_path: Path, content: bytes, reason: str) -> None:
    add_tag(tmp_path, f"{LIBRARY}/bad:1b", manifest_of(model=add_blob(tmp_path, content)))

    found = scan(tmp_path, OLLAMA)

    assert found.models == []
    assert reasons(found)["1b"].startswith(reason)


def test_every_blob_is_accounted_for(tmp_path: Path) -> None:
    add_model(tmp_path)
    stray = blob_of(tmp_path, add_blob(tmp_path, b"GGUF"))
    half = blob_of(tmp_path, f"sha256-{'0' * 64}-partial")
    half.touch()
    other = tmp_path / "blobs/notes.txt"
    other.touch()
    odd = tmp_path / "manifests/.DS_Store"
    odd.touch()

    found = scan(tmp_path, OLLAMA)

    assert reasons(found) == {
        stray.name: "no manifest names this blob",
        half.name: "incomplete download",
        other.name: "not a blob",
        odd.name: "not an Ollama manifest: its path is no model's name",
    }
    assert found.files_seen == 5
