"""`manage.py pull`, and what becomes of one that is killed."""

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from models_app.audit_models import Action, AuditEntry
from models_app.download_models import Download, DownloadState
from models_app.downloads import worker
from models_app.downloads.bar import figures
from models_app.downloads.worker import Look
from models_app.management.commands.pull import bytes_per_s
from tests.models_app.hubs import Content, Hub, make_model

REPO = "org/Qwen3-4B-GGUF"
NAME = "Qwen3-4B-Q4_K_S.gguf"
WAIT_S = 30
HALF = 100_000  # of the model's bytes


@pytest.fixture
def model(hub: Hub, tmp_path: Path) -> Content:
    return hub.add(REPO, make_model(tmp_path / "there", NAME))


@pytest.mark.django_db
def test_a_model_is_pulled_here_and_now(
    model: Content, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("pull", REPO)

    said = capsys.readouterr().out
    assert "Chosen: Q4_K_S: the repo has no other." in said
    assert "Fetched 200.4 kB, and the hashes are right." in said
    assert "Registered as qwen3_4p0b_q4ks_fast, not enabled" in said


@pytest.mark.django_db
def test_machines_get_json_and_nothing_else(
    model: Content, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("pull", REPO, json=True)

    report = json.loads(capsys.readouterr().out)
    assert (report["state"], report["model_id"]) == ("finished", "qwen3_4p0b_q4ks_fast")
    assert report["files"][0]["sha256"] == model.sha256


@pytest.mark.django_db
def test_what_failed_is_told_with_what_to_do(hub: Hub, model: Content) -> None:
    hub.gated.add(REPO)

    with pytest.raises(CommandError, match="Accept its licence") as error:
        call_command("pull", REPO)

    assert error.value.returncode == 1


@pytest.mark.django_db
def test_what_is_no_reference_is_misuse() -> None:
    with pytest.raises(CommandError, match="it is a path") as error:
        call_command("pull", "/etc/passwd")

    assert error.value.returncode == 2


@pytest.mark.django_db
def test_trying_again_is_told(
    hub: Hub, model: Content, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.trouble.cuts.append(HALF)
    hub.trouble.bytes_per_s = 150_000  # so that somebody can look meanwhile

    call_command("pull", REPO)

    assert "hashes are right" in capsys.readouterr().out


@pytest.mark.django_db
def test_ctrl_c_cancels_and_keeps_what_came(
    hub: Hub, model: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.trouble.stalls.append(HALF)

    def ctrl_c(_bar: object, look: Look) -> None:
        if look.row.done_bytes == HALF:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("models_app.downloads.bar.DownloadBar.show", ctrl_c)
        with pytest.raises(CommandError, match="goes on") as error:
            call_command("pull", REPO)

    assert error.value.returncode == 130
    row = Download.objects.get()
    assert (row.state, row.is_wanted) == (DownloadState.CANCELLED, False)
    assert row.bytes_per_s is None
    assert AuditEntry.objects.filter(action=Action.CANCEL).count() == 1
    call_command("pull", REPO)
    assert hub.bodies()[-1].range == f"bytes={HALF}-"


@pytest.mark.django_db
def test_one_that_the_worker_is_at_is_watched(
    model: Content, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = worker.run

    def held(download_id: int, **_options: object) -> None:
        run(download_id)  # as the worker does meanwhile

    monkeypatch.setattr(worker, "run", held)

    call_command("pull", REPO)

    assert "The worker of node local fetches it." in capsys.readouterr().out


@pytest.mark.django_db
def test_queueing_without_a_worker_says_so(
    node_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_a, **_o: [])

    with pytest.raises(CommandError, match="No worker of node 'local' answers"):
        call_command("pull", REPO, queue=True)

    assert not Download.objects.exists()


@pytest.mark.parametrize(
    ("text", "rate"), [("5M", 5_000_000), ("500k", 500_000), ("1.5MB/s", 1_500_000)]
)
def test_a_limit_is_a_rate(text: str, rate: int) -> None:
    assert bytes_per_s(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "5", "-1M", "1T"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="such as 500k or 5M"):
        bytes_per_s(text)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "queued"}, "waits for its turn"),
        ({"state": "running"}, "asks what there is"),
        (
            {
                "state": "running",
                "total_bytes": 4 * 10**9,
                "done_bytes": 10**9,
                "bytes_per_s": 1e6,
            },
            "1.0 GB of 4.0 GB, 1.0 MB/s, 50:00 left",
        ),
        (
            {"state": "running", "total_bytes": 9 * 10**9, "done_bytes": 0, "bytes_per_s": 1e6},
            "0 B of 9.0 GB, 1.0 MB/s, 2:30:00 left",
        ),
    ],
)
def test_the_bar_tells_how_far_it_is(fields: dict[str, Any], text: str) -> None:
    assert figures(Download(**fields)) == text


def test_a_killed_pull_resumes_at_its_byte(hub: Hub, tmp_path: Path) -> None:
    large = hub.add(REPO, make_model(tmp_path / "there", NAME, megabytes=3))
    hub.trouble.bytes_per_s = 1_000_000
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"),
        "MAGI_DATA_DIR": str(tmp_path / "data"),
        "DATABASE_URL": "",
        "MAGI_DOWNLOAD_RESERVE_MIB": "0",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    (tmp_path / "data").mkdir()

    manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
    migrate = [*manage, "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, check=True, timeout=WAIT_S * 4)
    killed = subprocess.Popen([*manage, "pull", REPO], env=environment)
    blob = tmp_path / "hf/hub/models--org--Qwen3-4B-GGUF/blobs" / large.sha256
    partial = blob.with_name(f"{blob.name}.incomplete")
    _wait(lambda: partial.exists() and partial.stat().st_size > 500_000)
    killed.kill()
    killed.wait(WAIT_S)
    came = partial.stat().st_size
    hub.trouble.bytes_per_s = 0

    done = subprocess.run(
        [*manage, "pull", REPO, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    assert hub.bodies()[-1].range == f"bytes={came}-"
    assert Content.of(blob).sha256 == large.sha256


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)
