"""`manage.py prune`: what would go, what went, and what lies on the disk of a node."""

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from models_app.download_models import Download, DownloadSource, DownloadState
from models_app.locks import node_lock
from models_app.models import Scan, ScanState
from servers_app import launcher, old_rows
from tests.conftest import MakeServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_folder(settings: Settings, tmp_path: Path) -> Path:
    settings.MAGI_DATA_DIR = tmp_path
    settings.MAGI_RUN_DIR = tmp_path / "run"
    return tmp_path


def pruned(*options: str) -> dict[str, int | None]:
    out = StringIO()
    call_command("prune", "--json", *options, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return {row["name"]: row["count"] for row in answer["pruned"]}


def aged(path: Path, *, days: float = 30) -> Path:
    at = time.time() - days * 86400
    os.utime(path, (at, at))
    return path


def folder_of(server_id: int, own_folder: Path, *, days: float = 30) -> Path:
    folder = own_folder / "servers" / str(server_id)
    folder.mkdir(parents=True)
    for name in ("server.log", "exit.json", "keeper.lock"):
        (folder / name).write_text("{}")
        aged(folder / name, days=days)
    return aged(folder, days=days)


def test_a_dry_run_tells_and_deletes_nothing() -> None:
    for _ in range(3):
        Scan.objects.create(node="local", state=ScanState.FINISHED)
    Scan.objects.update(started_at=timezone.now() - timedelta(days=400))

    assert pruned("--dry-run")["scan reports"] == 2
    assert Scan.objects.count() == 3
    assert pruned()["scan reports"] == 2
    assert Scan.objects.count() == 1
    assert pruned()["scan reports"] == 0


def test_a_person_is_shown_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("prune", "--dry-run")

    shown = capsys.readouterr().out
    assert "Would go" in shown
    assert "server events" in shown
    assert "90 days" in shown


def test_what_could_not_be_done_is_told_and_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(now: object) -> int:
        msg = "it is locked"
        raise OperationalError(msg)

    monkeypatch.setattr(old_rows, "roll_up_events", fail)
    for _ in range(2):
        Scan.objects.create(node="local", state=ScanState.FINISHED)
    Scan.objects.update(started_at=timezone.now() - timedelta(days=400))

    with pytest.raises(CommandError, match="server events"):
        pruned()
    assert Scan.objects.count() == 1


# -- on the disk of a node


def test_the_folder_of_a_server_that_no_row_knows_goes_after_a_week(own_folder: Path) -> None:
    forgotten, young = folder_of(7, own_folder), folder_of(8, own_folder, days=3)

    assert pruned("--dry-run")["folders of forgotten servers"] == 1
    assert forgotten.is_dir()
    assert pruned()["folders of forgotten servers"] == 1
    assert (forgotten.exists(), young.is_dir()) == (False, True)


def test_the_folder_of_a_server_that_has_a_row_stays(
    own_folder: Path, make_server: MakeServer
) -> None:
    here = make_server()
    elsewhere = make_server(here.model, node="other")
    folders = [folder_of(server.pk, own_folder) for server in (here, elsewhere)]

    assert pruned()["folders of forgotten servers"] == 0
    assert all(folder.is_dir() for folder in folders)


def test_the_folder_of_a_server_that_runs_stays_even_without_a_row(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(7, own_folder)
    monkeypatch.setattr(launcher, "is_kept", lambda server_id: True)

    assert pruned()["folders of forgotten servers"] == 0
    assert folder.is_dir()


def test_a_lock_that_nobody_asks_for_goes_after_a_week(own_folder: Path) -> None:
    folder = own_folder / "run" / "locks"
    with node_lock("server-1"), node_lock("server-2"), node_lock("server-3"):
        aged(folder / "server-1.lock")
        assert pruned("--dry-run")["locks"] == 1
        assert pruned()["locks"] == 0  # it is held
    aged(folder / "server-2.lock", days=3)

    assert pruned()["locks"] == 0  # who pruned has asked for the first
    aged(folder / "server-1.lock")
    assert pruned()["locks"] == 1
    assert {each.name for each in folder.iterdir()} == {"server-2.lock", "server-3.lock"}


# -- parts of downloads

MakeDownload = Callable[..., Download]


@pytest.fixture
def make_download(tmp_path: Path) -> MakeDownload:
    def make(state: DownloadState, digest: str, *, days: float = 30, **fields: Any) -> Download:
        return Download.objects.create(
            node="local",
            source=DownloadSource.HUB,
            reference=f"org/repo:{Download.objects.count()}",
            state=state,
            folder=str(tmp_path / "hub"),
            files=[{"name": "a.gguf", "sha256": digest}],
            finished_at=timezone.now() - timedelta(days=days),
            **fields,
        )

    return make


def part(tmp_path: Path, digest: str, *, days: float = 30) -> Path:
    path = tmp_path / "hub" / "models--org--repo" / "blobs" / f"{digest}.incomplete"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    return aged(path, days=days)


NAME = "parts of cancelled downloads"


def test_parts_of_a_download_that_was_cancelled_go_after_a_week(
    make_download: MakeDownload, tmp_path: Path
) -> None:
    make_download(DownloadState.CANCELLED, "aa")
    make_download(DownloadState.CANCELLED, "bb", days=5)
    old, young = part(tmp_path, "aa"), part(tmp_path, "bb")

    assert pruned("--dry-run")[NAME] == 1
    assert pruned()[NAME] == 1
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("state", [DownloadState.QUEUED, DownloadState.FAILED])
def test_parts_that_another_download_goes_on_with_stay(
    make_download: MakeDownload, tmp_path: Path, state: DownloadState
) -> None:
    make_download(DownloadState.CANCELLED, "aa")
    make_download(state, "aa")

    kept = part(tmp_path, "aa")

    assert pruned()[NAME] == 0
    assert kept.exists()


def test_a_part_that_somebody_writes_stays(make_download: MakeDownload, tmp_path: Path) -> None:
    make_download(DownloadState.CANCELLED, "aa")
    make_download(DownloadState.CANCELLED, "*")
    kept = part(tmp_path, "aa", days=0)

    assert pruned()[NAME] == 0
    assert kept.exists()
