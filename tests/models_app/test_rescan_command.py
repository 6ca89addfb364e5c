import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.models_app.ggufs import write_gguf

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def hub(settings: Settings, tmp_path: Path) -> Path:
    """A folder with a model, and a file that is none."""
    write_gguf(tmp_path / "hub" / "Qwen3-4B-Q4_K_M.gguf")
    (tmp_path / "hub" / "notes-7b-q4_0.gguf").write_bytes(b"a shopping list and more of it")
    settings.MODEL_SCAN_PATH = [tmp_path / "hub"]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    return tmp_path / "hub"


def test_the_guides_listing_and_tier_summary_are_printed(
    capsys: pytest.CaptureFixture[str], hub: Path
) -> None:
    call_command("rescan")

    said = capsys.readouterr().out
    assert f"Scanning for GGUF models in: {hub}\n" in said
    assert "Discovered: QWEN3 4.0B Q4_K_M [fast] @ port 8080" in said
    assert "Discovery complete: 1 model registered" in said
    assert "MODEL TIER ASSIGNMENT SUMMARY" in said
    assert "FAST tier: 1 model\n  - QWEN3 4.0B Q4_K_M @ port 8080" in said
    assert "notes-7b-q4_0.gguf" in said
    assert "not a GGUF file" in said


def test_machines_get_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("rescan", json=True)

    report = json.loads(capsys.readouterr().out)
    assert report["added"] == ["qwen3_4p0b_q4km_fast"]
    assert [item["reason"] for item in report["skipped"]] == ["not a GGUF file"]


def test_queueing_without_a_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_a, **_o: [])

    with pytest.raises(CommandError, match="No worker of node 'local' answers"):
        call_command("rescan", queue=True)
