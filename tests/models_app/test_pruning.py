"""`rescan --prune` removes the rows of models that have gone, and of no others."""

from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from models_app import registry
from models_app.models import DiscoveredModel, Scan, ScanRoot
from servers_app.models import Server, ServerState, Wanted
from tests.models_app.ggufs import write_gguf

pytestmark = pytest.mark.django_db

NODE = "local"


@pytest.fixture
def gone(settings: Settings, tmp_path: Path) -> DiscoveredModel:
    """A model with an override, whose file has been deleted; another one is still there."""
    settings.MODEL_SCAN_PATH = [tmp_path / "hub"]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    write_gguf(tmp_path / "hub" / "Llama-3.1-8B-Q8_0.gguf")
    path = write_gguf(tmp_path / "hub" / "Qwen3-4B-Q4_K_M.gguf")
    registry.rescan(NODE)
    path.unlink()
    DiscoveredModel.objects.filter(family="qwen").update(tier_override="powerful")
    return DiscoveredModel.objects.get(family="qwen")


def families() -> list[str]:
    return sorted(DiscoveredModel.objects.values_list("family", flat=True))


def test_nothing_is_removed_without_it(gone: DiscoveredModel) -> None:
    report = registry.rescan(NODE)

    assert report.missing == [gone.model_id]
    assert families() == ["llama", "qwen"]


def test_a_model_that_has_gone_is_removed_and_reported(gone: DiscoveredModel) -> None:
    report = registry.rescan(NODE, prune=True)

    assert (report.missing, report.pruned) == ([], [gone.model_id])
    assert families() == ["llama"]
    assert Scan.objects.first().report["pruned"] == [gone.model_id]  # type: ignore[union-attr]


def test_one_that_a_scan_before_missed_is_removed_too(gone: DiscoveredModel) -> None:
    registry.rescan(NODE)

    assert registry.rescan(NODE, prune=True).pruned == [gone.model_id]
    assert registry.rescan(NODE, prune=True).pruned == []


def test_its_server_at_rest_goes_with_it(gone: DiscoveredModel) -> None:
    Server.objects.create(model=gone, node=NODE, state=ServerState.FAILED)

    registry.rescan(NODE, prune=True)

    assert not Server.objects.exists()


def test_one_whose_server_runs_stays(gone: DiscoveredModel) -> None:
    server = Server.objects.create(
        model=gone, node=NODE, state=ServerState.READY, wanted=Wanted.RUNNING, port=8080
    )

    report = registry.rescan(NODE, prune=True)

    assert (report.missing, report.pruned) == ([gone.model_id], [])
    assert Server.objects.get() == server


@pytest.mark.parametrize("has_mount_point", [True, False])
def test_a_disk_that_is_not_mounted_loses_nothing(
    gone: DiscoveredModel, tmp_path: Path, has_mount_point: bool
) -> None:
    (tmp_path / "hub").rename(tmp_path / "unmounted")
    if has_mount_point:
        (tmp_path / "hub").mkdir()

    report = registry.rescan(NODE, prune=True)

    assert len(report.missing) == 2
    assert families() == ["llama", "qwen"]


def test_a_root_that_is_disabled_loses_nothing(gone: DiscoveredModel) -> None:
    ScanRoot.objects.update(is_enabled=False)

    assert registry.rescan(NODE, prune=True).pruned == []


def test_the_command_says_what_it_removed(
    gone: DiscoveredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("rescan", "--prune")

    assert f"Removed: {gone.model_id}" in capsys.readouterr().out
