"""From files on disk to rows: what a rescan adds, keeps, marks and reports."""

import os
import threading
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from models_app import registry
from models_app.models import DiscoveredModel, ScanRoot
from models_app.roots import sync_roots
from tests.models_app.ggufs import TEXT_MODEL, write_gguf

NODE = "local"


@pytest.fixture
def hub(settings: Settings, tmp_path: Path) -> Path:
    """A folder of models that MODEL_SCAN_PATH names."""
    folder = tmp_path / "hub"
    folder.mkdir()
    settings.MODEL_SCAN_PATH = [folder]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    return folder


def ids() -> list[str]:
    return list(DiscoveredModel.objects.values_list("model_id", flat=True))


@pytest.mark.django_db
def test_a_rescan_registers_models_and_enables_nothing(hub: Path) -> None:
    write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    write_gguf(hub / "qwen2.5-coder-14b-instruct-q4_k_m.gguf")

    report = registry.rescan(NODE)

    assert ids() == ["qwen2_coder_p5_14p0b_q4km_powerful", "qwen3_4p0b_q4km_fast"]
    assert sorted(report.added) == ids()
    assert (report.models_found, report.files_seen) == (2, 2)


@pytest.mark.django_db
def test_ports_are_given_in_the_order_of_file_names_until_there_are_none(
    hub: Path, settings: Settings
) -> None:
    settings.MODEL_PORT_RANGE_END = settings.MODEL_PORT_RANGE_START + 1
    for name in ("b-1b-q4_0.gguf", "a-1b-q4_0.gguf", "c-1b-q4_0.gguf"):
        write_gguf(hub / name)

    registry.rescan(NODE)

    rows = DiscoveredModel.objects.order_by("filename").values_list("filename", "port")
    assert list(rows) == [
        ("a-1b-q4_0.gguf", 8080),
        ("b-1b-q4_0.gguf", 8081),
        ("c-1b-q4_0.gguf", None),
    ]


@pytest.mark.django_db
def test_what_people_decided_survives_a_rescan_of_a_changed_file(hub: Path) -> None:
    path = write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    DiscoveredModel.objects.update(
        tier_override="powerful", thinking_override=True, notes="mine", port=8095
    )
    os.utime(path, (1, 1))

    report = registry.rescan(NODE)

    row = DiscoveredModel.objects.get()
    assert report.updated == [row.model_id]
    assert (row.tier_override, row.thinking_override, row.notes, row.port) == (
        "powerful",
        True,
        "mine",
        8095,
    )


@pytest.mark.django_db
def test_a_file_that_has_gone_keeps_its_row_and_comes_back_by_itself(hub: Path) -> None:
    path = write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    away = path.rename(hub.parent / "away.gguf")

    assert registry.rescan(NODE).missing == ["qwen3_4p0b_q4km_fast"]
    assert DiscoveredModel.objects.get().is_missing

    away.rename(path)
    report = registry.rescan(NODE)

    assert report.missing == []
    assert not DiscoveredModel.objects.get().is_missing


@pytest.mark.django_db
def test_an_unchanged_file_is_reported_as_such(hub: Path) -> None:
    write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)

    report = registry.rescan(NODE)

    assert (report.added, report.updated) == ([], [])
    assert report.unchanged == ["qwen3_4p0b_q4km_fast"]


@pytest.mark.django_db
def test_the_same_model_of_another_publisher_gets_an_id_of_its_own(hub: Path) -> None:
    for publisher in ("one", "two"):
        (hub / publisher).mkdir()
        write_gguf(hub / publisher / "Qwen3-4B-Q4_K_M.gguf")

    registry.rescan(NODE)

    assert ids() == ["qwen3_4p0b_q4km_fast", "qwen3_4p0b_q4km_fast_2"]


@pytest.mark.django_db
def test_every_skipped_file_is_reported_with_its_reason(hub: Path) -> None:
    (hub / "notes-7b-q4_0.gguf").write_bytes(b"shopping list, and more than that")
    (hub / "empty-7b-q4_0.gguf").touch()

    report = registry.rescan(NODE)

    reasons = {Path(item["path"]).name: item["reason"] for item in report.skipped}
    assert reasons == {
        "notes-7b-q4_0.gguf": "not a GGUF file",
        "empty-7b-q4_0.gguf": "zero bytes",
    }
    assert ids() == []


@pytest.mark.django_db
def test_a_root_that_cannot_be_read_is_reported_and_the_others_are_scanned(
    hub: Path, settings: Settings
) -> None:
    settings.MODEL_SCAN_PATH = [hub.parent / "missing", hub]
    write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")

    report = registry.rescan(NODE)

    assert ids() == ["qwen3_4p0b_q4km_fast"]
    assert [error["path"] for error in report.root_errors] == [str(hub.parent / "missing")]
    assert ScanRoot.objects.get(path=str(hub.parent / "missing")).last_error


@pytest.mark.django_db
def test_a_root_that_a_person_disabled_is_not_scanned(hub: Path) -> None:
    write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    sync_roots(NODE)
    ScanRoot.objects.update(is_enabled=False)

    registry.rescan(NODE)

    assert ids() == []


@pytest.mark.django_db
def test_a_root_goes_when_the_setting_drops_it_and_one_of_the_admin_stays(
    hub: Path, settings: Settings
) -> None:
    sync_roots(NODE)
    ScanRoot.objects.create(node=NODE, path="/from/the/admin")
    settings.MODEL_SCAN_PATH = [hub.parent]

    sync_roots(NODE)

    paths = set(ScanRoot.objects.values_list("path", flat=True))
    assert paths == {str(hub.parent), "/from/the/admin"}


@pytest.mark.django_db
def test_a_root_that_a_person_made_outlives_a_setting_that_named_it_too(
    hub: Path, settings: Settings
) -> None:
    ScanRoot.objects.create(node=NODE, path=str(hub), kind="gemma")
    sync_roots(NODE)
    settings.MODEL_SCAN_PATH = [hub.parent]

    sync_roots(NODE)

    assert ScanRoot.objects.get(path=str(hub)).kind == "gemma"


@pytest.mark.django_db
def test_a_root_that_the_setting_names_is_recognised_once_it_is_there(
    settings: Settings, tmp_path: Path
) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path / "later"]
    sync_roots(NODE)
    (tmp_path / "later" / "models--org--name").mkdir(parents=True)

    sync_roots(NODE)

    assert ScanRoot.objects.get().kind == "huggingface"


@pytest.mark.django_db
def test_a_file_whose_name_is_no_text_is_skipped_and_stops_nothing(hub: Path) -> None:
    write_gguf(hub / "Qwen3-4B-Q4_K_M.gguf")
    write_gguf(Path(os.fsdecode(os.fsencode(hub) + b"/bad-\xff-7b-q4_0.gguf")))

    report = registry.rescan(NODE)

    assert ids() == ["qwen3_4p0b_q4km_fast"]
    assert [item["reason"] for item in report.skipped] == ["its name is not UTF-8"]
    assert "bad-�-7b" in report.skipped[0]["path"]


@pytest.mark.django_db
def test_a_header_with_endless_names_fits_into_the_registry(hub: Path) -> None:
    write_gguf(
        hub / f"{'x' * 100}-{'y' * 100}-7b-q4_0.gguf",
        TEXT_MODEL | {"general.architecture": "a" * 500},
    )

    registry.rescan(NODE)

    assert DiscoveredModel.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_rescans_at_once_make_no_row_twice(hub: Path) -> None:
    for number in range(20):
        write_gguf(hub / f"Qwen3-{number}B-Q4_K_M.gguf")

    def scan() -> None:
        registry.rescan(NODE)
        connection.close()

    threads = [threading.Thread(target=scan) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert DiscoveredModel.objects.count() == 20
