"""Every file in one place of the report; and on the second scan, no file opened."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from models_app import discovery, readahead
from models_app.discovery import (
    DIRECTORY,
    GEMMA,
    HUGGINGFACE,
    OLLAMA,
    KnownFile,
    KnownSkip,
    RootSpec,
    discover,
)
from models_app.known import READER
from tests.models_app.ggufs import TEXT_MODEL, write_gguf
from tests.models_app.scans import (
    PROJECTOR,
    add_blob,
    add_tag,
    add_to_cache,
    complete_gguf,
    known_of,
    known_skips_of,
    manifest_of,
    set_main,
    write_shards,
)


def named(name: str) -> bytes:
    return complete_gguf(TEXT_MODEL | {"general.name": name})


def make_cache(hub: Path) -> None:
    """Two revisions, quants, a projector, a shard too few, a download, and rubbish."""
    for repo in ("Qwen/Qwen3-4B-GGUF", "unsloth/Qwen3-VL-8B-GGUF"):
        for quant in ("Q4_K_M", "Q8_0", "BF16"):
            name = f"{quant}/{repo.split('/')[1].removesuffix('-GGUF')}-{quant}.gguf"
            add_to_cache(hub, repo, "new", name, named(repo + quant))
            add_to_cache(hub, repo, "old", name, named(repo + quant))
        set_main(hub, repo, "new")
    add_to_cache(
        hub, "unsloth/Qwen3-VL-8B-GGUF", "new", "mmproj-F16.gguf", complete_gguf(PROJECTOR)
    )
    other = complete_gguf(PROJECTOR | {"clip.vision.projection_dim": 4096})
    add_to_cache(hub, "unsloth/Qwen3-VL-8B-GGUF", "new", "mmproj-gemma-4b.gguf", other)
    for number in (1, 3):
        split = {"split.no": number - 1, "split.count": 3}
        content = complete_gguf(TEXT_MODEL | split | {"general.name": str(number)})
        name = f"Llama-70B-Q8_0-{number:05}-of-00003.gguf"
        add_to_cache(hub, "meta/Llama-70B-GGUF", "r1", name, content)
    add_to_cache(hub, "bad/bad", "r1", "half-7b-q4_0.gguf", complete_gguf()[:-512])
    add_to_cache(hub, "bad/bad", "r1", "page.gguf", b"<html>not found</html>")
    add_to_cache(hub, "bad/bad", "r1", "config.json", b"{}")
    (hub / "models--bad--bad/snapshots/r1/late.gguf").symlink_to("../../blobs/none")
    (hub / "models--bad--bad/blobs/0123.incomplete").touch()


def make_folder(folder: Path) -> None:
    write_gguf(folder / "bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf")
    write_gguf(folder / "bartowski/Phi-4-GGUF/mmproj-other-7b-f16.gguf", PROJECTOR)
    write_shards(folder / "split", [1, 2, 3])
    broken = folder / "split/Llama-3.3-70B-Q8_0-00002-of-00003.gguf"
    os.truncate(broken, broken.stat().st_size - 1)
    write_gguf(folder / "vocab.gguf", tensors=())
    write_gguf(folder / "future.gguf", version=4)
    write_gguf(folder / "lora.gguf", {"general.type": "adapter"})
    (folder / "zero.gguf").touch()
    (folder / "half.gguf.part").touch()
    (folder / "circle.gguf").symlink_to("circle.gguf")
    (folder / "again.gguf").symlink_to("bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf")
    os.mkfifo(folder / "pipe.gguf")
    (folder / "README.md").touch()
    (folder / "pair").mkdir()
    (folder / "pair/2b-it.sbs").write_bytes(b"SBS\n\1\0\0\0\x10" + bytes(7))
    (folder / "pair/tokenizer.spm").touch()


def make_store(store: Path) -> None:
    digest = add_blob(store, named("ollama"))
    projector = add_blob(store, complete_gguf(PROJECTOR | {"general.name": "ollama"}))
    template = add_blob(store, b"{{ .Prompt }}")
    library = "registry.ollama.ai/library"
    manifest = manifest_of(model=digest, projector=projector, template=template)
    add_tag(store, f"{library}/qwen3:4b", manifest)
    add_tag(store, f"{library}/qwen3:latest", manifest)
    bad = add_blob(store, complete_gguf(PROJECTOR)[:-1])
    add_tag(store, f"{library}/broken:1b", manifest_of(model=bad))
    add_tag(store, f"{library}/gone:1b", manifest_of(model=f"sha256:{'0' * 64}"))
    add_tag(store, f"{library}/empty:1b", [])
    (store / "blobs" / f"sha256-{'1' * 64}-partial").touch()


@pytest.fixture
def roots(tmp_path: Path) -> list[RootSpec]:
    make_cache(tmp_path / "hub")
    make_folder(tmp_path / "folder")
    make_folder(tmp_path / "gemma")
    make_store(tmp_path / "ollama")
    return [
        RootSpec(tmp_path / "hub", HUGGINGFACE),
        RootSpec(tmp_path / "folder", DIRECTORY),
        RootSpec(tmp_path / "gemma", GEMMA),
        RootSpec(tmp_path / "ollama", OLLAMA),
        RootSpec(tmp_path / "gone", DIRECTORY),
    ]


def files_below(roots: list[RootSpec]) -> int:
    """Count by other means what a scan has to account for."""
    hub, folder, gemma, ollama, _ = (root.path for root in roots)
    plain = (".gguf", ".part")
    return (
        len([p for p in hub.rglob("snapshots/**/*") if p.name.endswith(".gguf")])
        + len(list(hub.rglob("*.incomplete")))
        + len([p for p in folder.rglob("*") if p.name.endswith(plain)])
        + len([p for p in gemma.rglob("*") if p.name.endswith((*plain, ".sbs", ".spm"))])
        + len([p for p in (ollama / "manifests").rglob("*") if p.is_file()])
        + 2  # of the blobs: a projector, and a download that stopped
    )


def test_every_file_is_found_or_skipped_once(roots: list[RootSpec]) -> None:
    found = discover(roots)

    shown = [model.file_path for model in found.models] + [item.path for item in found.skipped]
    assert len(shown) == found.files_seen == files_below(roots)
    assert len(set(shown)) == len(shown)
    assert {item.reason for item in found.skipped} >= {
        "adapter",
        "broken link",
        "incomplete download",
        "not a GGUF file",
        "not a regular file",
        "projector",
        "shard 3 of 3",
        "symlink loop",
        "unsupported GGUF version 4",
        "vocabulary only",
        "zero bytes",
    }


def test_the_second_scan_opens_no_file_and_says_the_same(
    roots: list[RootSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover(roots)

    def fail(path: Path) -> NoReturn:
        pytest.fail(f"{path} was opened")

    monkeypatch.setattr(readahead, "read_gguf", fail)
    monkeypatch.setattr(discovery, "read_weights", fail)

    second = discover(roots, known=known_of(first), known_skips=known_skips_of(first))

    assert second.models == []
    assert sorted(second.unchanged) == sorted(model.identity for model in first.models)
    assert sorted(map(str, second.skipped)) == sorted(map(str, first.skipped))
    assert second.files_seen == first.files_seen
    assert second.known_skips == first.known_skips


def test_a_projector_that_is_not_read_again_is_still_attached(tmp_path: Path) -> None:
    projector = write_gguf(tmp_path / "mmproj-F16.gguf", PROJECTOR)
    first = discover([RootSpec(tmp_path, DIRECTORY)])
    write_gguf(tmp_path / "Qwen3-VL-4B-Q4_0.gguf")

    found = discover([RootSpec(tmp_path, DIRECTORY)], known_skips=known_skips_of(first))

    assert [model.projector_path for model in found.models] == [projector]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "Qwen3-4B-Q4_0.gguf", tensors=())
    first = discover([RootSpec(tmp_path, DIRECTORY)])
    write_gguf(path)

    found = discover([RootSpec(tmp_path, DIRECTORY)], known_skips=known_skips_of(first))

    assert [item.reason for item in first.skipped] == ["vocabulary only"]
    assert len(found.models) == 1
    assert found.known_skips == {}


def test_a_later_shard_that_has_changed_is_read_again(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 2, 3])
    first = discover([RootSpec(tmp_path, DIRECTORY)])
    second = tmp_path / "Llama-3.3-70B-Q8_0-00002-of-00003.gguf"
    second.write_bytes(bytes(second.stat().st_size))

    found = discover([RootSpec(tmp_path, DIRECTORY)], known=known_of(first))

    assert [model.missing_shards for model in found.models] == [(2,)]


@pytest.mark.parametrize("kind", [KnownFile, KnownSkip])
def test_what_another_version_remembered_is_forgotten(
    kind: type[KnownFile] | type[KnownSkip],
) -> None:
    assert kind.of_json({"device": 1}) is None
    assert kind.of_json({"reader": READER, "device": 1, "color": "red"}) is None


def test_what_an_older_reader_found_is_read_again(tmp_path: Path) -> None:
    write_gguf(tmp_path / "Qwen3-4B-Q4_0.gguf")
    found = discover([RootSpec(tmp_path, DIRECTORY)])
    remembered = found.models[0].signature.as_json()

    assert KnownFile.of_json(remembered) is not None
    assert KnownFile.of_json(remembered | {"reader": READER - 1}) is None


def test_what_is_remembered_goes_through_json(tmp_path: Path) -> None:
    write_gguf(tmp_path / "Qwen3-4B-Q4_0.gguf")
    write_gguf(tmp_path / "mmproj-F16.gguf", PROJECTOR)

    found = discover([RootSpec(tmp_path, DIRECTORY)])

    (model,), (skip,) = found.models, found.known_skips.values()
    assert KnownFile.of_json(model.signature.as_json()) == model.signature
    assert KnownSkip.of_json(skip.as_json()) == skip
