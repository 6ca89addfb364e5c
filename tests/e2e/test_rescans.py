"""Scans as processes: killed in the middle, and two at once."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.e2e.magi import PATIENCE_S, Magi
from tests.models_app.ggufs import write_gguf

pytestmark = pytest.mark.e2e

FILES = 600


@pytest.fixture
def magi(stopped_magi: Magi) -> Magi:
    """A MAGI with a folder of many models, set up but not started."""
    hub = stopped_magi.data_dir / "hub"
    for number in range(FILES):
        write_gguf(hub / f"Qwen{number}-7B-Q4_K_M.gguf")
    (hub / "notes-7b-q4_0.gguf").write_bytes(b"a shopping list, and more than that")
    stopped_magi.environment["MODEL_SCAN_PATH"] = str(hub)
    assert stopped_magi.run_command("setup").returncode == 0
    return stopped_magi


def start_rescan(magi: Magi) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "rescan", "--json"],
        cwd=settings.BASE_DIR,
        env=magi.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def report_of(magi: Magi, *arguments: str) -> dict[str, Any]:
    done = magi.run_command("rescan", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_scan_that_is_killed_leaves_a_sound_registry_and_the_next_completes_it(
    magi: Magi, tmp_path: Path
) -> None:
    for moment_s in (0.6, 0.9, 1.2):
        process = start_rescan(magi)
        time.sleep(moment_s)
        process.kill()
        process.communicate()

    report = report_of(magi)

    registered = len(report["added"]) + len(report["updated"]) + len(report["unchanged"])
    assert registered == FILES
    assert registered + len(report["skipped"]) == report["files_seen"]
    listed = json.loads(magi.run_command("models", "list", "--json").stdout)
    assert len({model["model_id"] for model in listed}) == FILES
    assert set(report_of(magi)["unchanged"]) == {model["model_id"] for model in listed}


def test_two_scans_at_once_find_every_model_once(magi: Magi) -> None:
    processes = [start_rescan(magi) for _ in range(2)]
    reports = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in processes]

    assert sorted(len(report["added"]) for report in reports) == [0, FILES]
    assert sorted(len(report["unchanged"]) for report in reports) == [0, FILES]


def test_a_rescan_that_nobody_waits_for_is_followed_to_its_report(magi: Magi) -> None:
    magi.start()

    queued = magi.call("POST", "/api/models/rescan?wait=0")
    magi.until(lambda: magi.get(queued["status_url"])["state"] not in {"pending", "running"})

    task = magi.get(queued["status_url"])
    assert (task["state"], task["error"]) == ("success", None)
    assert task["result"]["models_found"] == FILES
    assert magi.call("POST", "/api/models/rescan")["models_found"] == FILES
    assert magi.stop() == 0
