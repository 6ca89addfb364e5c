import os
from pathlib import Path
from typing import Any

import pytest

from models_app.discovery import HUGGINGFACE
from tests.models_app.ggufs import TEXT_MODEL, U16, Typed, write_gguf
from tests.models_app.scans import (
    PROJECTOR,
    add_to_cache,
    complete_gguf,
    only_model,
    reasons,
    rescan,
    scan,
    set_main,
    write_shards,
)


def test_shards_are_one_model(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 2, 3])

    found = scan(tmp_path)

    model = only_model(found)
    assert model.filename == "Llama-3.3-70B-Q8_0-00001-of-00003.gguf"
    assert model.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (model.parameter_count, model.shard_count, model.missing_shards) == (384, 3, ())
    assert (model.problem, model.is_incomplete) == ("", False)
    assert sorted(reasons(found).values()) == ["shard 2 of 3", "shard 3 of 3"]


def test_a_missing_shard_makes_the_model_incomplete(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 3])

    model = only_model(scan(tmp_path))

    assert (model.missing_shards, model.is_incomplete) == ((2,), True)
    assert model.problem == "incomplete: shard 2 of 3 is missing"


def test_a_shard_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 2, 3])
    broken = tmp_path / "Llama-3.3-70B-Q8_0-00003-of-00003.gguf"
    os.truncate(broken, broken.stat().st_size - 1)

    found = scan(tmp_path)

    assert only_model(found).missing_shards == (3,)
    assert reasons(found)[broken.name].startswith("truncated: ")


def test_shards_without_the_first_are_no_model(tmp_path: Path) -> None:
    write_shards(tmp_path, [2, 3])

    found = scan(tmp_path)

    assert found.models == []
    assert sorted(reasons(found).values()) == ["shard 2 of 3", "shard 3 of 3"]


def test_an_enormous_split_is_named_in_a_sentence(tmp_path: Path) -> None:
    write_shards(tmp_path, [1], total=99_999)

    model = only_model(scan(tmp_path))

    assert model.problem == (
        "incomplete: shards 2, 3, 4, 5, 6, 7, 8, 9, 10, 11… of 99999 are missing"
    )


def test_a_first_shard_without_tensors_is_a_model(tmp_path: Path) -> None:
    write_shards(tmp_path, [2], total=2)
    split = {"split.no": Typed(U16, 0), "split.count": Typed(U16, 2)}
    first = tmp_path / "Llama-3.3-70B-Q8_0-00001-of-00002.gguf"
    write_gguf(first, TEXT_MODEL | split, ())

    assert only_model(scan(tmp_path)).parameter_count == 128


def test_renamed_shards_are_known_by_their_header(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a-1b-q4_0.gguf", TEXT_MODEL | {"split.no": 0, "split.count": 2})
    write_gguf(tmp_path / "b-1b-q4_0.gguf", TEXT_MODEL | {"split.no": 1, "split.count": 2})

    found = scan(tmp_path)

    assert only_model(found).problem.startswith("shard 1 of 2 was renamed")
    assert reasons(found) == {"b-1b-q4_0.gguf": "shard 2 of 2"}


# Projectors.


def test_a_projector_makes_the_quants_beside_it_vision_models(tmp_path: Path) -> None:
    write_gguf(tmp_path / "vl/Qwen3-VL-4B-Instruct-Q4_K_M.gguf")
    write_gguf(tmp_path / "vl/Qwen3-VL-4B-Instruct-Q8_0.gguf")
    write_gguf(tmp_path / "vl/mmproj-F32.gguf", PROJECTOR)
    projector = write_gguf(tmp_path / "vl/mmproj-F16.gguf", PROJECTOR)
    write_gguf(tmp_path / "other/Qwen3-4B-Q4_K_M.gguf")

    found = scan(tmp_path)

    assert {(model.filename, model.kind, model.projector_path) for model in found.models} == {
        ("Qwen3-VL-4B-Instruct-Q4_K_M.gguf", "vision", projector),
        ("Qwen3-VL-4B-Instruct-Q8_0.gguf", "vision", projector),
        ("Qwen3-4B-Q4_K_M.gguf", "text", None),
    }


@pytest.mark.parametrize(
    ("projector", "metadata"),
    [
        pytest.param("mmproj-Qwen3-VL-8B-F16.gguf", {}, id="another size"),
        pytest.param("mmproj-gemma-3-4b-it-F16.gguf", {}, id="another family"),
        pytest.param("mmproj.gguf", {"clip.vision.projection_dim": 2560}, id="another width"),
    ],
)
def test_a_projector_of_another_model_is_left_alone(
    tmp_path: Path, projector: str, metadata: dict[str, Any]
) -> None:
    write_gguf(
        tmp_path / "Qwen3-VL-4B-Q4_K_M.gguf",
        {"general.architecture": "qwen3vl", "qwen3vl.embedding_length": 4096},
    )
    write_gguf(tmp_path / projector, PROJECTOR | metadata)

    model = only_model(scan(tmp_path))

    assert (model.kind, model.projector_path) == ("text", None)
    assert model.warnings == ("no projector (mmproj) beside it: it will not see images",)


# The Hugging Face cache.


def test_a_cached_model_is_launched_by_its_link(tmp_path: Path) -> None:
    name = "UD-Q4_K_XL/Qwen3-4B-UD-Q4_K_XL.gguf"
    link = add_to_cache(tmp_path, "unsloth/Qwen3--4B-GGUF", "abc", name, complete_gguf())
    (tmp_path / ".locks").mkdir()

    found = scan(tmp_path, HUGGINGFACE)

    model = only_model(found)
    assert model.identity == f"hf:unsloth/Qwen3--4B-GGUF:{name}"
    assert (model.repo_id, model.file_path) == ("unsloth/Qwen3--4B-GGUF", link)
    assert model.blob_path == link.resolve() != link
    assert found.files_seen == 1


def test_the_revision_of_main_wins_and_else_the_newest(tmp_path: Path) -> None:
    for repo in ("a/main", "a/none"):
        for age, revision in enumerate(["new", "old"]):
            metadata = TEXT_MODEL | {"general.name": revision}
            content = complete_gguf(metadata)
            link = add_to_cache(tmp_path, repo, revision, "Qwen3-4B-Q4_0.gguf", content)
            os.utime(link.parent, (1e9 - age, 1e9 - age))
    set_main(tmp_path, "a/main", "old")

    found = scan(tmp_path, HUGGINGFACE)

    assert {model.repo_id: model.name for model in found.models} == {
        "a/main": "old",
        "a/none": "new",
    }
    assert [skipped.reason.split(" of ")[0] for skipped in found.skipped] == [
        "older revision",
        "older revision",
    ]


def test_one_blob_in_two_revisions_is_one_model(tmp_path: Path) -> None:
    content = complete_gguf()
    for revision in ("r1", "r2"):
        add_to_cache(tmp_path, "a/b", revision, "m-4B-Q4_0.gguf", content, blob="same")
    set_main(tmp_path, "a/b", "r2")

    found = scan(tmp_path, HUGGINGFACE)

    winner = tmp_path / "models--a--b/snapshots/r2/m-4B-Q4_0.gguf"
    assert only_model(found).file_path == winner
    assert [skipped.reason for skipped in found.skipped] == [f"duplicate of {winner}"]


def test_a_file_that_only_an_older_revision_has_is_a_model(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", "m-4B-Q4_0.gguf", complete_gguf())
    add_to_cache(tmp_path, "a/b", "r2", "m-4B-Q8_0.gguf", complete_gguf())
    set_main(tmp_path, "a/b", "r2")

    found = scan(tmp_path, HUGGINGFACE)

    assert {model.quantization for model in found.models} == {"Q4_0", "Q8_0"}


def test_a_revision_with_all_shards_wins_over_a_newer_one_without(tmp_path: Path) -> None:
    write_shards(tmp_path / "src", [1, 2], total=2)
    for path in sorted((tmp_path / "src").iterdir()):
        for revision in ("old", "new"):
            if revision == "old" or "00001" in path.name:
                content = path.read_bytes()
                add_to_cache(tmp_path / "hub", "a/b", revision, path.name, content)
    set_main(tmp_path / "hub", "a/b", "new")

    model = only_model(scan(tmp_path / "hub", HUGGINGFACE))

    assert model.file_path.parent.name == "old"
    assert model.problem == ""


def test_downloads_that_stopped_are_reported(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", "m-4B-Q4_0.gguf", complete_gguf())
    (tmp_path / "models--a--b/blobs/0123.incomplete").write_bytes(b"GGUF")
    (tmp_path / "models--c--d").mkdir()

    found = scan(tmp_path, HUGGINGFACE)

    assert len(found.models) == 1
    assert reasons(found) == {"0123.incomplete": "incomplete download"}


def test_a_projector_belongs_to_the_whole_repo(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", "Q4_0/Qwen3-VL-4B-Q4_0.gguf", complete_gguf())
    projector = add_to_cache(tmp_path, "a/b", "r1", "mmproj-F16.gguf", complete_gguf(PROJECTOR))
    add_to_cache(tmp_path, "c/d", "r1", "Qwen3-4B-Q4_0.gguf", complete_gguf())

    found = scan(tmp_path, HUGGINGFACE)

    assert {model.repo_id: model.projector_path for model in found.models} == {
        "a/b": projector,
        "c/d": None,
    }


def test_a_loose_file_in_a_cache_is_found(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "Qwen3-4B-Q4_0.gguf")

    assert only_model(scan(tmp_path, HUGGINGFACE)).identity == str(path)


def test_a_repo_with_several_quants_in_folders_is_several_models(tmp_path: Path) -> None:
    for quant in ("Q4_K_M", "UD-Q4_K_XL", "BF16"):
        name = f"{quant}/Qwen3-4B-{quant}.gguf"
        add_to_cache(tmp_path, "a/b", "r1", name, complete_gguf())

    found = scan(tmp_path, HUGGINGFACE)

    assert {model.identity: model.quantization for model in found.models} == {
        "hf:a/b:Q4_K_M/Qwen3-4B-Q4_K_M.gguf": "Q4_K_M",
        "hf:a/b:UD-Q4_K_XL/Qwen3-4B-UD-Q4_K_XL.gguf": "Q4_K_XL",
        "hf:a/b:BF16/Qwen3-4B-BF16.gguf": "BF16",
    }


def test_shards_in_a_folder_of_a_repo_are_launched_by_the_link_of_the_first(
    tmp_path: Path,
) -> None:
    write_shards(tmp_path / "src", [1, 2, 3])
    for path in (tmp_path / "src").iterdir():
        add_to_cache(tmp_path / "hub", "a/b", "r1", f"Q8_0/{path.name}", path.read_bytes())

    model = only_model(scan(tmp_path / "hub", HUGGINGFACE))

    folder = tmp_path / "hub/models--a--b/snapshots/r1/Q8_0"
    assert model.file_path == folder / "Llama-3.3-70B-Q8_0-00001-of-00003.gguf"
    assert model.identity == "hf:a/b:Q8_0/Llama-3.3-70B-Q8_0-00001-of-00003.gguf"
    assert (model.shard_count, model.problem) == (3, "")


def test_a_new_revision_updates_the_model(tmp_path: Path) -> None:
    for revision in ("r1", "r2"):
        content = complete_gguf(TEXT_MODEL | {"general.name": revision})
        add_to_cache(tmp_path, "a/b", revision, "Qwen3-4B-Q4_0.gguf", content)
    set_main(tmp_path, "a/b", "r1")
    first = scan(tmp_path, HUGGINGFACE)
    set_main(tmp_path, "a/b", "r2")

    model = only_model(rescan(first, tmp_path, HUGGINGFACE))

    assert (only_model(first).name, model.name) == ("r1", "r2")
    assert model.identity == only_model(first).identity


@pytest.mark.parametrize(
    ("path", "repo_id"),
    [
        ("bartowski/Qwen3-4B-GGUF/Qwen3-4B-Q4_0.gguf", "bartowski/Qwen3-4B-GGUF"),
        ("models/bartowski/Qwen3-4B-GGUF/Qwen3-4B-Q4_0.gguf", "bartowski/Qwen3-4B-GGUF"),
        ("models/Qwen3-4B-GGUF/Qwen3-4B-Q4_0.gguf", ""),
        ("Qwen3-4B-GGUF/Qwen3-4B-Q4_0.gguf", ""),
        ("Qwen3-4B-Q4_0.gguf", ""),
        ("bartowski/Qwen3-4B-GGUF/Q4_0/Qwen3-4B-Q4_0.gguf", ""),
    ],
)
def test_the_folders_of_lm_studio_name_the_repo(
    tmp_path: Path, path: str, repo_id: str
) -> None:
    write_gguf(tmp_path / path)

    assert only_model(scan(tmp_path)).repo_id == repo_id


def test_lm_studios_quants_of_a_repo_share_its_projector(tmp_path: Path) -> None:
    folder = tmp_path / "lmstudio-community/Qwen3-VL-4B-GGUF"
    write_gguf(folder / "Qwen3-VL-4B-Q4_K_M.gguf")
    write_gguf(folder / "Qwen3-VL-4B-Q8_0.gguf")
    projector = write_gguf(folder / "mmproj-Qwen3-VL-4B-F16.gguf", PROJECTOR)
    write_gguf(tmp_path / "other/Qwen3-4B-GGUF/Qwen3-4B-Q4_0.gguf")

    found = scan(tmp_path)

    assert {
        (model.repo_id, model.quantization): model.projector_path for model in found.models
    } == {
        ("lmstudio-community/Qwen3-VL-4B-GGUF", "Q4_K_M"): projector,
        ("lmstudio-community/Qwen3-VL-4B-GGUF", "Q8_0"): projector,
        ("other/Qwen3-4B-GGUF", "Q4_0"): None,
    }
