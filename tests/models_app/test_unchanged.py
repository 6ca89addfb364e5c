"""A rescan of what has not changed opens nothing, asks little, and says the same."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from models_app import registry
from models_app.discovery import discover
from models_app.fingerprint import fingerprint
from models_app.models import DiscoveredModel, DiscoveryRules, ScanMemory, ScanRoot
from models_app.scanned import DIRECTORY, GEMMA, HUGGINGFACE, OLLAMA, RootSpec
from tests.models_app.ggufs import write_gguf
from tests.models_app.scans import add_to_cache, complete_gguf, set_main

NODE = "local"
REPO = "org/Qwen3-4B-GGUF"
NAME = "Qwen3-4B-Q4_K_M.gguf"


@pytest.fixture
def cache(settings: Settings, tmp_path: Path) -> Path:
    """A Hugging Face cache of one model in two revisions, and a file that is none."""
    settings.MODEL_SCAN_PATH = [tmp_path / "hub"]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    add_to_cache(tmp_path / "hub", REPO, "abc", NAME, complete_gguf())
    add_to_cache(tmp_path / "hub", REPO, "old", NAME, complete_gguf() + bytes(32))
    add_to_cache(tmp_path / "hub", REPO, "abc", "notes.gguf", b"a shopping list")
    set_main(tmp_path / "hub", REPO, "abc")
    return tmp_path / "hub"


@pytest.mark.django_db
def test_it_says_what_the_last_scan_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry.rescan(NODE)

    def fail(*_args: object, **_options: object) -> NoReturn:
        pytest.fail("it looked into the files again")

    monkeypatch.setattr(registry, "discover", fail)
    second, third = registry.rescan(NODE), registry.rescan(NODE)

    for report in (second, third):
        assert report.unchanged == first.added
        assert (report.added, report.updated, report.missing) == ([], [], [])
        assert report.skipped == first.skipped
        assert report.files_seen == first.files_seen == len(first.added) + len(first.skipped)
        assert report.models_found == first.models_found


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_files(cache: Path) -> None:
    registry.rescan(NODE)
    with CaptureQueriesContext(connection) as few:
        registry.rescan(NODE)
    for size in range(1, 60):
        write_gguf(cache / f"Llama-{size}B-Q8_0.gguf")
    registry.rescan(NODE)

    with CaptureQueriesContext(connection) as many:
        report = registry.rescan(NODE)

    assert len(report.unchanged) == 60
    assert len(many) == len(few) <= 8


def _grow(cache: Path) -> None:
    blob = next((cache / "models--org--Qwen3-4B-GGUF" / "blobs").glob("abc-Qwen*"))
    blob.write_bytes(blob.read_bytes() + bytes(64))


def _touch(cache: Path) -> None:
    link = cache / "models--org--Qwen3-4B-GGUF/snapshots/abc" / NAME
    status = link.stat()
    os.utime(link, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _begin_download(cache: Path) -> None:
    (cache / "models--org--Qwen3-4B-GGUF" / "blobs" / "ff.incomplete").write_bytes(b"half")


def _point_elsewhere(cache: Path) -> None:
    set_main(cache, REPO, "old")


def _add(cache: Path) -> None:
    write_gguf(cache / "deep" / "er" / "Llama-3.1-8B-Q8_0.gguf")


def _remove(cache: Path) -> None:
    (cache / "models--org--Qwen3-4B-GGUF/snapshots/abc" / NAME).unlink()


def _break(cache: Path) -> None:
    link = cache / "models--org--Qwen3-4B-GGUF/snapshots/abc" / NAME
    link.resolve().unlink()


def _forbid(cache: Path) -> None:
    link = cache / "models--org--Qwen3-4B-GGUF/snapshots/abc" / NAME
    link.resolve().chmod(0)


@pytest.mark.parametrize(
    "change",
    [_grow, _touch, _begin_download, _point_elsewhere, _add, _remove, _break, _forbid],
)
def test_whatever_changes_what_a_scan_finds_changes_the_fingerprint(
    cache: Path, change: Callable[[Path], None]
) -> None:
    roots = [RootSpec(cache, HUGGINGFACE)]
    before = fingerprint(roots)

    assert fingerprint(roots) == before
    change(cache)
    assert fingerprint(roots) != before


@pytest.mark.parametrize("kind", [DIRECTORY, HUGGINGFACE, OLLAMA, GEMMA])
@pytest.mark.parametrize("folder", ["plain", "models--o--n/snapshots/1", "datasets--o--n"])
def test_it_looks_wherever_a_scan_of_that_kind_does(
    tmp_path: Path, kind: str, folder: str
) -> None:
    roots = [RootSpec(tmp_path, kind)]
    (tmp_path / folder).mkdir(parents=True)
    before, found = fingerprint(roots), len(discover(roots).models)

    write_gguf(tmp_path / folder / NAME)

    if len(discover(roots).models) > found:
        assert fingerprint(roots) != before


def test_a_link_in_a_circle_has_a_fingerprint(tmp_path: Path) -> None:
    write_gguf(tmp_path / "sub" / NAME)
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")

    assert fingerprint([RootSpec(tmp_path, DIRECTORY)])


@pytest.mark.django_db
def test_other_thinking_words_are_scanned_for(cache: Path) -> None:
    registry.rescan(NODE)
    DiscoveryRules.objects.update_or_create(pk=1, defaults={"thinking_words": "qwen3"})

    registry.rescan(NODE)
    looks = ScanMemory.objects.get().fingerprint
    DiscoveryRules.objects.update(thinking_words="")
    registry.rescan(NODE)

    assert ScanMemory.objects.get().fingerprint != looks


@pytest.mark.django_db
def test_a_row_that_was_deleted_is_found_again(cache: Path) -> None:
    first = registry.rescan(NODE)
    DiscoveredModel.objects.all().delete()

    report = registry.rescan(NODE)

    assert report.added == first.added


@pytest.mark.django_db
def test_a_scan_that_died_is_not_taken_for_one_that_found_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.rescan(NODE)
    write_gguf(cache / "Llama-3.1-8B-Q8_0.gguf")

    def die(*_args: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(registry, "give_ports", die)
        with pytest.raises(SystemExit):
            registry.rescan(NODE)
    report = registry.rescan(NODE)

    assert len(report.unchanged) == 2
    assert DiscoveredModel.objects.filter(port=None).count() == 0


@pytest.mark.django_db
def test_a_file_that_could_not_be_read_is_tried_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("models_app.readahead.read_gguf", fail)
        assert registry.rescan(NODE).added == []

    assert len(registry.rescan(NODE).added) == 1


@pytest.mark.django_db
def test_models_of_a_root_that_was_deleted_and_made_again_belong_to_it(cache: Path) -> None:
    registry.rescan(NODE)
    ScanRoot.objects.all().delete()

    registry.rescan(NODE)

    assert DiscoveredModel.objects.get().root == ScanRoot.objects.get()
