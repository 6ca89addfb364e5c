import json
import os
from pathlib import Path

import pytest

from models_app.discovery import DIRECTORY, OLLAMA, RootSpec, detect_kind, discover
from models_app.naming import make_model_id
from tests.models_app.ggufs import TEXT_MODEL
from tests.models_app.scans import (
    LIBRARY,
    PROJECTOR,
    add_blob,
    add_model,
    add_tag,
    blob_of,
    complete_gguf,
    known_of,
    manifest_list,
    manifest_of,
    only_model,
    reasons,
    rescan,
    scan,
)


def named(name: str) -> bytes:
    return complete_gguf(TEXT_MODEL | {"general.name": name})


def test_a_tag_is_a_model_that_is_launched_by_its_blob(tmp_path: Path) -> None:
    digest = add_blob(tmp_path, complete_gguf())
    template = add_blob(tmp_path, b"{{ .Prompt }}")
    name = f"{LIBRARY}/qwen3:4b-instruct-q4_K_M"
    add_tag(tmp_path, name, manifest_of(model=digest, template=template))

    found = scan(tmp_path, OLLAMA)

    model = only_model(found)
    assert model.identity == f"ollama:{name}"
    assert (model.filename, model.repo_id) == ("qwen3:4b-instruct-q4_K_M",) * 2
    assert model.file_path == model.blob_path == blob_of(tmp_path, digest)
    assert (model.problem, model.warnings, found.skipped, found.files_seen) == ("", (), [], 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            f"{LIBRARY}/qwen3:4b-instruct-q4_K_M", "qwen3_4p0b_q4km_fast", id="all of it"
        ),
        pytest.param(f"{LIBRARY}/llama3.1:8b", "llama3_p1_8p0b_q80_fast", id="header's quant"),
        pytest.param(f"{LIBRARY}/qwen3:latest", "qwen3_600m_q80_fast", id="header's size"),
        pytest.param(
            f"{LIBRARY}/deepseek-r1:8b-0528-qwen3-q8_0",
            "deepseek_r1_8p0b_q80_fast",
            id="words after the size",
        ),
        pytest.param(
            "hf.co/bartowski/Qwen3-4B-GGUF:Q6_K", "qwen3_4p0b_q6k_fast", id="of Hugging Face"
        ),
    ],
)
def test_tag_and_header_make_the_id(tmp_path: Path, name: str, expected: str) -> None:
    header = TEXT_MODEL | {"general.file_type": 7, "general.size_label": "600M"}
    add_model(tmp_path, name, complete_gguf(header))

    model = only_model(scan(tmp_path, OLLAMA))

    assert make_model_id(model, "fast") == expected


@pytest.mark.parametrize(
    ("tag", "is_thinking", "is_instruct"),
    [("8b-0528-qwen3", True, False), ("8b-instruct", True, True)],
)
def test_a_tag_tells_what_a_file_name_does(
    tmp_path: Path, tag: str, is_thinking: bool, is_instruct: bool
) -> None:
    add_model(tmp_path, f"{LIBRARY}/deepseek-r1:{tag}")

    model = only_model(scan(tmp_path, OLLAMA))

    assert (model.is_thinking_model, model.is_instruct) == (is_thinking, is_instruct)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{LIBRARY}/qwen3:4b", "qwen3:4b"),
        ("registry.ollama.ai/mannix/llama3:8b", "mannix/llama3:8b"),
        ("hf.co/bartowski/Qwen3-4B-GGUF:Q4_K_M", "hf.co/bartowski/Qwen3-4B-GGUF:Q4_K_M"),
    ],
)
def test_a_model_comes_from_what_ollama_run_takes(
    tmp_path: Path, name: str, expected: str
) -> None:
    add_model(tmp_path, name)

    assert only_model(scan(tmp_path, OLLAMA)).repo_id == expected


def test_a_projector_layer_makes_a_vision_model(tmp_path: Path) -> None:
    projector = add_blob(tmp_path, complete_gguf(PROJECTOR))
    for tag in ("4b-q4_0", "4b-q8_0"):
        digest = add_blob(tmp_path, named(tag))
        manifest = manifest_of(model=digest, projector=projector)
        add_tag(tmp_path, f"{LIBRARY}/qwen3-vl:{tag}", manifest)

    found = scan(tmp_path, OLLAMA)

    path = blob_of(tmp_path, projector)
    assert [(model.kind, model.projector_path) for model in found.models] == [
        ("vision", path),
        ("vision", path),
    ]
    assert reasons(found) == {path.name: "projector"}
    assert found.files_seen == 3


def test_a_missing_projector_is_a_problem(tmp_path: Path) -> None:
    digest = add_blob(tmp_path, complete_gguf())
    gone = f"sha256:{'ab' * 32}"
    add_tag(tmp_path, f"{LIBRARY}/qwen3-vl:4b", manifest_of(model=digest, projector=gone))

    model = only_model(scan(tmp_path, OLLAMA))

    assert model.problem == (
        "its projector cannot be used: incomplete: its blob sha256-abababababab… is missing"
    )
    assert (model.kind, model.projector_path) == ("text", None)


def test_an_adapter_is_told_of(tmp_path: Path) -> None:
    adapter = add_blob(tmp_path, complete_gguf({"general.type": "adapter"}))
    digest = add_blob(tmp_path, complete_gguf())
    add_tag(tmp_path, f"{LIBRARY}/mine:4b", manifest_of(model=digest, adapter=adapter))

    found = scan(tmp_path, OLLAMA)

    assert only_model(found).warnings == (
        "its adapter (LoRA) is not loaded: it answers as its base model does",
    )
    assert reasons(found) == {blob_of(tmp_path, adapter).name: "adapter"}


def test_tags_of_one_blob_are_one_model(tmp_path: Path) -> None:
    adapter = add_blob(tmp_path, complete_gguf({"general.type": "adapter"}))
    digest = add_blob(tmp_path, complete_gguf())
    with_adapter = manifest_of(model=digest, adapter=adapter)
    tuned = add_tag(tmp_path, f"{LIBRARY}/aaa:4b", with_adapter)
    latest = add_tag(tmp_path, f"{LIBRARY}/qwen3:latest", manifest_of(model=digest))
    exact = add_tag(tmp_path, f"{LIBRARY}/qwen3:q4", manifest_of(model=digest))

    found = scan(tmp_path, OLLAMA)

    assert only_model(found).repo_id == "qwen3:q4"
    duplicates = {item.path: item.reason for item in found.skipped if item.path.name != "blobs"}
    assert duplicates[latest] == duplicates[tuned] == f"duplicate of {exact}"


def test_a_new_tag_does_not_take_the_row_of_a_known_one(tmp_path: Path) -> None:
    add_model(tmp_path, f"{LIBRARY}/qwen3:latest")
    first = scan(tmp_path, OLLAMA)
    add_model(tmp_path, f"{LIBRARY}/qwen3:4b")

    found = scan(tmp_path, OLLAMA, known=known_of(first))

    assert found.unchanged == [f"ollama:{LIBRARY}/qwen3:latest"]
    assert reasons(found)["4b"].startswith("duplicate of ")


def test_a_blob_that_another_root_links_to_is_one_model(tmp_path: Path) -> None:
    store, folder = tmp_path / "ollama", tmp_path / "folder"
    manifest = add_model(store)
    (blob,) = (store / "blobs").iterdir()
    folder.mkdir()
    (folder / "Qwen3-4B.gguf").symlink_to(blob)

    found = discover([RootSpec(store, OLLAMA), RootSpec(folder, DIRECTORY)])

    assert only_model(found).repo_id == "qwen3:4b"
    assert reasons(found) == {"Qwen3-4B.gguf": f"duplicate of {manifest}"}


def test_an_unchanged_tag_is_not_read_again(tmp_path: Path) -> None:
    add_model(tmp_path)
    first = scan(tmp_path, OLLAMA)

    found = rescan(first, tmp_path, OLLAMA)

    assert found.unchanged == [first.models[0].identity]
    assert found.models == []


def test_a_tag_that_names_another_blob_is_updated(tmp_path: Path) -> None:
    add_model(tmp_path, content=named("old"))
    first = scan(tmp_path, OLLAMA)
    add_model(tmp_path, content=named("new"))

    found = rescan(first, tmp_path, OLLAMA)

    assert (only_model(found).identity, only_model(found).name) == (
        first.models[0].identity,
        "new",
    )
    assert list(reasons(found).values()) == ["no manifest names this blob"]


# Newer stores.


def test_a_tag_may_be_a_link_to_a_blob(tmp_path: Path) -> None:
    manifest = json.dumps(manifest_of(model=add_blob(tmp_path, complete_gguf()))).encode()
    target = blob_of(tmp_path, add_blob(tmp_path, manifest))
    link = tmp_path / "manifests-v2" / LIBRARY / "qwen3/4b"
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(target, link.parent))
    old = add_tag(tmp_path, f"{LIBRARY}/qwen3:4b", {"layers": []})

    found = scan(tmp_path, OLLAMA)

    assert only_model(found).identity == f"ollama:{LIBRARY}/qwen3:4b"
    assert [item.reason for item in found.skipped if item.path == old] == [
        "older manifest of the same tag"
    ]


def test_of_a_list_of_manifests_the_one_for_llama_cpp_is_taken(tmp_path: Path) -> None:
    mlx = manifest_of(tensor=add_blob(tmp_path, b"safetensors")) | {"runner": "mlx"}
    ours = manifest_of(model=add_blob(tmp_path, complete_gguf())) | {"runner": "llamacpp"}
    add_tag(tmp_path, f"{LIBRARY}/qwen3:4b", manifest_list("?", mlx, ours))

    assert only_model(scan(tmp_path, OLLAMA)).problem == ""


def test_a_manifest_in_a_list_may_be_a_blob(tmp_path: Path) -> None:
    ours = json.dumps(manifest_of(model=add_blob(tmp_path, complete_gguf()))).encode()
    entry = {"runner": "ollama", "digest": add_blob(tmp_path, ours)}
    add_tag(tmp_path, f"{LIBRARY}/qwen3:4b", manifest_list(entry))

    found = scan(tmp_path, OLLAMA)

    assert only_model(found).problem == ""
    assert found.skipped == []


def test_a_store_without_blobs_is_reported(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()

    assert scan(tmp_path, OLLAMA).root_errors == [(tmp_path / "blobs", "broken link")]


@pytest.mark.parametrize("manifests", ["manifests", "manifests-v2"])
def test_a_folder_of_manifests_and_blobs_is_ollamas(tmp_path: Path, manifests: str) -> None:
    (tmp_path / manifests).mkdir()

    assert detect_kind(tmp_path) == DIRECTORY
    (tmp_path / "blobs").mkdir()
    assert detect_kind(tmp_path) == OLLAMA
