"""What a scan notes of the content of models' files, and what a verification adds."""

import hashlib
import os
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from models_app import registry, versions
from models_app.errors import FilesChangedError
from models_app.integrity import verify_model
from models_app.models import DiscoveredModel
from models_app.version_models import ModelVersion
from tests.models_app.ggufs import TEXT_MODEL, gguf_bytes, write_gguf
from tests.models_app.scans import (
    PROJECTOR,
    add_model,
    add_to_cache,
    complete_gguf,
    set_main,
)

pytestmark = pytest.mark.django_db

NODE = "local"
REPO = "org/Tiny-GGUF"
FILE = "Tiny-1B-Q8_0.gguf"
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def root(settings: Settings, tmp_path: Path) -> Path:
    """A folder of models that MODEL_SCAN_PATH names."""
    folder = tmp_path / "hub"
    folder.mkdir()
    settings.MODEL_SCAN_PATH = [folder]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    return folder


def put(cache: Path, commit: str, content: bytes, *, name: str = FILE) -> str:
    """Put a file into a hub's cache as its newest commit; return its hash."""
    digest = hashlib.sha256(content).hexdigest()
    add_to_cache(cache, REPO, commit, name, content, blob=digest)
    set_main(cache, REPO, commit)
    return digest


def content(text: str = "one") -> bytes:
    return gguf_bytes(TEXT_MODEL | {"general.description": text}) + bytes(512)


def only_version() -> ModelVersion:
    return ModelVersion.objects.get(is_current=True)


def test_the_first_scan_notes_commit_and_hash_without_reading_weights(root: Path) -> None:
    digest = put(root, OLD, content())

    registry.rescan(NODE)

    version = only_version()
    assert version.revision == OLD
    assert version.sha256 == {FILE: digest}
    assert version.size_bytes == len(content())
    assert (version.verified_at, version.is_sound, version.hub_state) == (None, None, "")


def test_another_content_is_another_version_and_the_older_one_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    told: list[object] = []
    put(root, OLD, content("one"))
    registry.rescan(NODE)
    monkeypatch.setattr(versions, "publish", lambda *event: told.append(event))

    digest = put(root, NEW, content("two"))
    with django_capture_on_commit_callbacks(execute=True):
        registry.rescan(NODE)

    (model,) = DiscoveredModel.objects.all()
    assert only_version().revision == NEW
    assert only_version().sha256 == {FILE: digest}
    assert set(model.versions.values_list("revision", "is_current")) == {
        (OLD, False),
        (NEW, True),
    }
    event = {"change": "content", "count": 1, "model_ids": [model.model_id]}
    assert told == [("model", event)]


def test_a_content_that_is_back_is_the_version_that_it_was(root: Path) -> None:
    put(root, OLD, content("one"))
    registry.rescan(NODE)
    first = only_version()
    put(root, NEW, content("two"))
    registry.rescan(NODE)

    set_main(root, REPO, OLD)
    registry.rescan(NODE)

    assert only_version().pk == first.pk
    assert ModelVersion.objects.count() == 2


def test_a_new_commit_with_the_same_file_is_no_new_version(root: Path) -> None:
    put(root, OLD, content())
    registry.rescan(NODE)

    put(root, NEW, content())
    registry.rescan(NODE)

    assert ModelVersion.objects.count() == 1
    assert only_version().revision == NEW


def test_the_shards_of_a_cache_have_a_hash_each(root: Path) -> None:
    hashes = {}
    for number in (1, 2):
        split = TEXT_MODEL | {"split.no": number - 1, "split.count": 2}
        name = f"Tiny-1B-Q8_0-0000{number}-of-00002.gguf"
        hashes[name] = put(root, OLD, gguf_bytes(split) + bytes(512), name=name)

    registry.rescan(NODE)

    assert only_version().sha256 == hashes


def test_an_ollama_model_has_the_digest_of_its_blob(root: Path) -> None:
    add_model(root, content=content())

    registry.rescan(NODE)

    assert [*only_version().sha256.values()] == [hashlib.sha256(content()).hexdigest()]
    assert only_version().revision == ""


def test_a_plain_file_is_told_by_size_and_time(root: Path) -> None:
    path = write_gguf(root / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    os.utime(path, (1, 1))

    registry.rescan(NODE)

    assert ModelVersion.objects.filter(is_current=False).count() == 1
    assert (only_version().revision, only_version().sha256) == ("", {})


def test_only_so_many_versions_of_a_model_are_kept(root: Path) -> None:
    path = write_gguf(root / "Qwen3-4B-Q4_K_M.gguf")
    for second in range(1, versions.KEPT + 4):
        os.utime(path, (second, second))
        registry.rescan(NODE)

    assert ModelVersion.objects.count() == versions.KEPT
    assert only_version() == ModelVersion.objects.latest("pk")


def test_models_of_an_older_magi_get_their_version_with_the_next_scan(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, OLD, content())
    with monkeypatch.context() as older:
        for module in ("known", "fingerprint"):
            older.setattr(f"models_app.{module}.READER", 2)
        registry.rescan(NODE)
    ModelVersion.objects.all().delete()

    registry.rescan(NODE)

    assert only_version().revision == OLD


def test_versions_cost_the_same_queries_for_many_models(root: Path) -> None:
    counts = []
    for count in (2, 40):
        for number in range(count):
            os.utime(write_gguf(root / f"Qwen3-{number + 1}B-Q4_K_M.gguf"), (count, count))
        registry.rescan(NODE)
        for number in range(count):
            os.utime(root / f"Qwen3-{number + 1}B-Q4_K_M.gguf", (count + 1, count + 1))
        models = list(DiscoveredModel.objects.all()[:count])
        for model in models:
            model.file_signature["mtime_ns"] = -count
        with CaptureQueriesContext(
            connection,
        ) as queries:
            versions.note_versions(models)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_verifying_writes_down_that_a_blob_is_sound(root: Path) -> None:
    digest = put(root, OLD, content())
    registry.rescan(NODE)

    verified = verify_model(DiscoveredModel.objects.get())

    version = only_version()
    assert verified.is_sound is True
    assert (version.is_sound, version.verified_at) == (True, verified.verified_at)
    assert version.sha256 == {FILE: digest}


def test_a_blob_that_rots_is_found_and_its_right_hash_is_kept(root: Path) -> None:
    digest = put(root, OLD, content())
    registry.rescan(NODE)
    blob = Path(DiscoveredModel.objects.get().blob_path)
    blob.write_bytes(content()[:-1] + b"\xff")

    verified = verify_model(DiscoveredModel.objects.get())

    assert verified.is_sound is False
    assert FILE in verified.words
    assert (only_version().is_sound, only_version().sha256) == (False, {FILE: digest})


def test_a_projector_that_rots_is_found_and_is_no_part_of_the_version(root: Path) -> None:
    digest = put(root, OLD, content())
    beside = put(root, OLD, complete_gguf(PROJECTOR), name="mmproj-F16.gguf")
    registry.rescan(NODE)
    (model,) = DiscoveredModel.objects.all()

    sound = verify_model(model)
    blob = Path(model.projector_path).resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    rotten = verify_model(model)

    assert (sound.is_sound, rotten.is_sound) == (True, False)
    assert [file.is_sound for file in rotten.files] == [True, False]
    assert rotten.files[1].expected == beside
    assert (only_version().sha256, only_version().is_sound) == ({FILE: digest}, False)


def test_a_plain_file_is_held_against_what_it_was_when_it_was_read_first(root: Path) -> None:
    path = write_gguf(root / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    model = DiscoveredModel.objects.get()
    seen = path.stat()

    first, second = verify_model(model), verify_model(model)
    with path.open("r+b") as file:  # it rots: nobody has written it
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    third = verify_model(model)

    assert [first.is_sound, second.is_sound, third.is_sound] == [None, True, False]
    assert only_version().is_sound is False


def test_a_plain_file_that_somebody_has_replaced_is_to_be_scanned_first(root: Path) -> None:
    path = write_gguf(root / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    os.utime(path, (1, 1))

    with pytest.raises(FilesChangedError, match="Rescan"):
        verify_model(DiscoveredModel.objects.get())

    assert only_version().verified_at is None
