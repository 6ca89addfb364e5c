"""The report that a scan leaves behind, and what the admin shows of it."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app import registry
from models_app.models import DiscoveredModel, Scan, ScanRoot, ScanState
from tests.models_app.ggufs import write_gguf

pytestmark = pytest.mark.django_db

NODE = "local"


@pytest.fixture(autouse=True)
def hub(settings: Settings, tmp_path: Path) -> Path:
    settings.MODEL_SCAN_PATH = [tmp_path / "hub"]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    write_gguf(tmp_path / "hub" / "Qwen3-4B-Q4_K_M.gguf")
    (tmp_path / "hub" / "notes-7b-q4_0.gguf").write_bytes(b"<b>a shopping list</b> and more")
    return tmp_path / "hub"


def test_each_scan_leaves_a_row_that_accounts_for_every_file() -> None:
    registry.rescan(NODE)
    registry.rescan(NODE)

    second, first = Scan.objects.all()
    assert (first.added, first.unchanged, first.skipped) == (1, 0, 1)
    assert (second.added, second.unchanged, second.skipped) == (0, 1, 1)
    for scan in (first, second):
        assert scan.state == ScanState.FINISHED
        assert scan.added + scan.updated + scan.unchanged + scan.skipped == scan.files_seen
    assert first.report["skipped"][0]["reason"] == "not a GGUF file"


def test_a_scan_that_was_killed_is_seen_and_the_next_one_carries_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_args: object) -> None:
        raise SystemExit  # no `except Exception` sees it, as none sees a kill -9

    with monkeypatch.context() as patched:
        patched.setattr(registry, "give_ports", die)
        with pytest.raises(SystemExit):
            registry.rescan(NODE)
    registry.rescan(NODE)

    assert [scan.state for scan in Scan.objects.all()] == [
        ScanState.FINISHED,
        ScanState.INTERRUPTED,
    ]
    assert DiscoveredModel.objects.count() == 1


def test_a_scan_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(registry, "discover", fail)

    with pytest.raises(RuntimeError):
        registry.rescan(NODE)

    assert Scan.objects.get().state == ScanState.FAILED


def test_the_admin_shows_each_skipped_file_with_its_reason(admin_client: Client) -> None:
    report = registry.rescan(NODE)

    page = admin_client.get(reverse("admin:models_app_scan_change", args=[report.scan_id]))

    text = page.content.decode()
    assert "not a GGUF file" in text
    assert "notes-7b-q4_0.gguf" in text
    listed = admin_client.get(reverse("admin:models_app_scan_changelist"))
    assert "Finished" in listed.content.decode()


def test_a_root_is_tested_in_the_admin(admin_client: Client, hub: Path) -> None:
    good = ScanRoot.objects.create(node=NODE, path=str(hub))
    bad = ScanRoot.objects.create(node=NODE, path=str(hub / "missing"))

    response = admin_client.post(
        reverse("admin:models_app_scanroot_changelist"),
        {"action": "test_selected", "_selected_action": [good.pk, bad.pk]},
        follow=True,
    )

    text = response.content.decode()
    assert f"Looked into {hub}: 2 model files, 0 others." in text
    assert f"Looked into {hub}/missing: no such folder." in text


def test_a_rescan_asked_for_in_the_admin_without_a_worker_says_so(
    admin_client: Client, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_a, **_o: [])
    root = ScanRoot.objects.create(node=NODE, path=str(hub))

    response = admin_client.post(
        reverse("admin:models_app_scanroot_changelist"),
        {"action": "rescan_nodes", "_selected_action": [root.pk]},
        follow=True,
    )

    assert "No worker of node" in response.content.decode()
