"""Downloads from Ollama's registry, into the store that Ollama has."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_app.download_models import Download, DownloadState
from models_app.downloads import service, worker
from models_app.ollama import list_store
from models_app.scanned import RootListing
from tests.models_app.hubs import Content, OllamaRegistry, make_model
from tests.models_app.scans import PROJECTOR, manifest_list

pytestmark = pytest.mark.django_db

NAME = "qwen3:4b"


@pytest.fixture
def model(registry: OllamaRegistry, tmp_path: Path) -> Content:
    content = make_model(tmp_path / "there", "qwen3.gguf", metadata=None)
    registry.add("library/qwen3:4b", tmp_path / "there", content)
    return content


@pytest.fixture
def store(node_folders: Path) -> Path:
    return node_folders / "ollama"


def fetched(reference: str = NAME, **options: object) -> Download:
    row, _ = service.want(reference, **options)  # type: ignore[arg-type]
    done = worker.run(row.pk)
    assert done is not None
    return done


def files_in(store: Path) -> list[str]:
    return sorted(path.name for path in store.rglob("*") if path.is_file())


def test_a_name_comes_into_ollamas_store_and_is_registered(model: Content, store: Path) -> None:
    done = fetched()

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    listing = RootListing()
    list_store(store, listing)
    assert [found.filename for found in listing.models] == ["qwen3:4b"]
    assert listing.skipped == []
    assert (store / "blobs" / f"sha256-{model.sha256}").read_bytes() == model.path.read_bytes()
    assert done.model is not None
    assert done.model.identity == "ollama:registry.ollama.ai/library/qwen3:4b"


def test_the_projector_comes_with_it(
    registry: OllamaRegistry, tmp_path: Path, store: Path
) -> None:
    there = tmp_path / "there"
    projector = make_model(there, "mmproj.gguf", metadata=PROJECTOR)
    registry.add(
        "library/llava:7b", there, make_model(there, "llava.gguf"), projector=projector
    )

    done = fetched("llava:7b")

    assert done.model is not None
    assert done.model.projector_path == str(store / "blobs" / f"sha256-{projector.sha256}")


def test_a_cut_blob_resumes_at_the_byte(registry: OllamaRegistry, model: Content) -> None:
    registry.trouble.cuts.extend([50_000, 60_000])

    assert fetched().state == DownloadState.FINISHED
    assert [one.range for one in registry.bodies()][:3] == [
        "bytes=0-",
        "bytes=50000-",
        "bytes=110000-",
    ]


def test_what_is_under_way_has_ollamas_name_and_no_manifest(
    registry: OllamaRegistry, model: Content, store: Path
) -> None:
    registry.trouble.cuts.extend([50_000, *[0] * 20])

    done = fetched()

    assert done.error_code == "unavailable"
    assert files_in(store) == [f"sha256-{model.sha256}-partial"]


def test_other_bytes_than_the_digest_says_are_removed(
    registry: OllamaRegistry, model: Content, store: Path
) -> None:
    registry.trouble.wrong_bytes = True

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "wrong_hash")
    assert files_in(store) == []


def test_what_ollama_has_begun_stays_ollamas(model: Content, store: Path) -> None:
    part = store / "blobs" / f"sha256-{model.sha256}-partial"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(model.size))  # Ollama makes it as long as it will be
    part.with_name(f"{part.name}-0").write_text("{}")

    assert fetched().state == DownloadState.FINISHED
    assert part.read_bytes() == bytes(model.size)


def test_a_tag_in_the_newer_folder_is_renewed_there(model: Content, store: Path) -> None:
    newer = store / "manifests-v2/registry.ollama.ai/library/qwen3/4b"
    newer.parent.mkdir(parents=True)
    (store / "blobs").mkdir()
    newer.symlink_to(store / "blobs" / "sha256-gone")

    done = fetched()

    assert done.state == DownloadState.FINISHED
    layers = json.loads(newer.read_text())["layers"]
    assert layers[0]["digest"] == f"sha256:{model.sha256}"


def test_a_name_that_is_not_there_is_unknown(registry: OllamaRegistry) -> None:
    done = fetched("nothing:1b")

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unknown")


def test_a_registry_that_wants_a_sign_in_is_gated(
    registry: OllamaRegistry, model: Content
) -> None:
    registry.needs_sign_in = True

    assert fetched().error_code == "gated"


def test_a_name_with_a_namespace_needs_its_source(
    registry: OllamaRegistry, model: Content
) -> None:
    registry.manifests["someone/qwen3:4b"] = registry.manifests["library/qwen3:4b"]

    assert fetched("someone/qwen3:4b", source="ollama").state == DownloadState.FINISHED


def _without_model(manifest: dict[str, Any]) -> None:
    manifest["layers"] = manifest["layers"][1:]


def _digest_that_is_a_path(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"


def _negative_size(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["size"] = -1


def _large_template(manifest: dict[str, Any]) -> None:
    manifest["layers"][1]["size"] = 10**12


def _thousands_of_layers(manifest: dict[str, Any]) -> None:
    manifest["layers"] *= 1000


def _no_list(manifest: dict[str, Any]) -> None:
    manifest["layers"] = {"a": 1}


@pytest.mark.parametrize(
    "spoil",
    [_without_model, _digest_that_is_a_path, _negative_size, _large_template,
     _thousands_of_layers, _no_list],
)  # fmt: skip
def test_a_manifest_that_names_nothing_usable_is_refused(
    registry: OllamaRegistry,
    model: Content,
    store: Path,
    spoil: Callable[[dict[str, Any]], None],
) -> None:
    manifest = json.loads(registry.manifests["library/qwen3:4b"])
    spoil(manifest)
    registry.manifests["library/qwen3:4b"] = json.dumps(manifest).encode()

    assert fetched().error_code == "unsupported"
    assert files_in(store) == []


def test_a_list_of_manifests_is_told_apart_from_an_empty_one(
    registry: OllamaRegistry, model: Content
) -> None:
    registry.manifests["library/qwen3:4b"] = json.dumps(manifest_list({}, {})).encode()

    done = fetched()

    assert done.error_code == "unsupported"
    assert "a list of several manifests" in done.error


@pytest.mark.parametrize("raw", [b"<html>", b"[" * 100_000, b"[]", b" " * 5_000_000])
def test_an_answer_that_is_no_manifest_is_refused(
    registry: OllamaRegistry, model: Content, raw: bytes
) -> None:
    registry.manifests["library/qwen3:4b"] = raw

    assert fetched().error_code == "unsupported"


def test_a_size_that_lies_is_found_out(registry: OllamaRegistry, model: Content) -> None:
    digest = f"sha256:{model.sha256}"
    manifest = json.loads(registry.manifests["library/qwen3:4b"])
    manifest["layers"][0]["size"] -= 1000
    registry.manifests["library/qwen3:4b"] = json.dumps(manifest).encode()
    registry.blobs[digest] = replace(model)

    assert fetched().error_code == "wrong_hash"


def test_a_password_in_the_address_of_the_registry_is_shown_to_nobody(
    node_folders: Path, settings: Settings
) -> None:
    settings.MAGI_OLLAMA_REGISTRY = "http://me:hunter2@127.0.0.1:9"  # where nobody listens

    done = fetched()

    assert done.state == DownloadState.FAILED
    assert done.error.startswith("http://127.0.0.1:9 does not answer")
    assert "hunter2" not in done.error


def test_the_registry_is_asked_by_way_of_the_proxy(
    registry: OllamaRegistry,
    model: Content,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", registry.url)
    monkeypatch.setenv("NO_PROXY", "")
    settings.MAGI_OLLAMA_REGISTRY = "http://registry.invalid"

    assert fetched().state == DownloadState.FINISHED
    assert "registry.invalid" in {one.host for one in registry.asked}
