"""A restore is all or nothing, and nothing is said to run after it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from magi_site.backup import at_work, tables
from magi_site.backup.errors import (
    ArchiveError,
    AtWorkError,
    NotEmptyError,
    VersionError,
)
from models_app.audit_models import Action, AuditEntry
from models_app.download_models import Download, DownloadState
from models_app.models import DiscoveredModel, Scan, ScanState
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer
from tests.magi_site.backups import (
    backup,
    contents,
    database_url,
    lines_of,
    put_lines,
    restore_all,
    rewrite,
)

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_S = 60.0  # a watchdog, far above what anything takes


@pytest.fixture(autouse=True)
def _own_data_dir(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MAGI_DATA_DIR = tmp_path / "data"
    settings.MAGI_DATA_DIR.mkdir()
    monkeypatch.setattr(at_work, "LISTEN_S", 0.5)


@pytest.fixture
def archive(tmp_path: Path, make_model: MakeModel) -> Path:
    """A backup with one model in it."""
    make_model(notes="as it was")
    backup(tmp_path / "b.tar.gz")
    return tmp_path / "b.tar.gz"


def test_a_database_that_has_rows_is_not_replaced_unless_that_is_meant(archive: Path) -> None:
    before = contents()

    with pytest.raises(NotEmptyError, match=r"not empty: .*DiscoveredModel.* --replace"):
        restore_all(archive, replace=False)

    assert contents() == before


def test_an_empty_one_takes_it_without_more_words(archive: Path) -> None:
    connection.close()
    call_command("flush", "--no-input", verbosity=0)

    restored = restore_all(archive, replace=False)

    assert DiscoveredModel.objects.get().notes == "as it was"
    assert restored.rows > 0


def test_what_came_after_the_backup_is_gone(archive: Path, make_model: MakeModel) -> None:
    DiscoveredModel.objects.update(notes="changed")
    make_model("later_fast")

    restore_all(archive)

    assert DiscoveredModel.objects.get().notes == "as it was"
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.target_kind) == (Action.RESTORE, "backup")
    assert entry.target_name == "b.tar.gz"


@pytest.fixture
def at_its_work(tmp_path: Path, make_server: MakeServer) -> Path:
    """A backup of a MAGI in which everything is under way."""
    make_server(
        state=ServerState.READY, wanted=Wanted.RUNNING, on_request=True, pid=77, boot_id="b"
    )
    Node.objects.create(name="local", heartbeat_at=timezone.now(), worker_pid=78)
    Scan.objects.create(node="local")
    Download.objects.create(node="local", source="hub", reference="a/b", state="running")
    Benchmark.objects.create(model_id="x", node="local")
    backup(tmp_path / "busy.tar.gz")
    return tmp_path / "busy.tar.gz"


def test_nothing_is_said_to_run_and_what_is_wanted_stays_wanted(at_its_work: Path) -> None:
    restored = restore_all(at_its_work)

    server, node = Server.objects.get(), Node.objects.get()
    assert (server.state, server.pid, server.boot_id) == (ServerState.STOPPED, None, "")
    assert (server.wanted, server.port) == (Wanted.RUNNING, 8080)
    assert (node.heartbeat_at, node.worker_pid) == (None, None)
    assert Scan.objects.get().state == ScanState.INTERRUPTED
    assert (restored.left.servers, restored.left.downloads, restored.left.measurements) == (
        1,
    ) * 3
    event = ServerEvent.objects.get()
    assert (event.who, event.from_state, event.to_state) == ("restore", "ready", "stopped")


def test_on_demand_nothing_starts_by_itself(at_its_work: Path) -> None:
    restored = restore_all(at_its_work, stopped=True)

    server = Server.objects.get()
    assert (server.wanted, server.on_request) == (Wanted.STOPPED, False)
    assert Download.objects.get().state == DownloadState.CANCELLED
    assert Benchmark.objects.get().state == BenchmarkState.CANCELLED
    assert restored.left.servers == 0


def test_while_a_worker_says_that_it_is_there_nothing_is_replaced(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_work, "LISTEN_S", PATIENCE_S)
    node = Node.objects.create(name="b", heartbeat_at=timezone.now())
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            Node.objects.filter(pk=node.pk).update(heartbeat_at=timezone.now())
        connection.close()

    worker = threading.Thread(target=beat)
    worker.start()
    try:
        with pytest.raises(AtWorkError, match="worker of node b is at work"):
            at_work.require_at_rest(lambda: None, listen_s=PATIENCE_S)
    finally:
        done.set()
        worker.join()

    at_work.require_at_rest(lambda: None, listen_s=0.5)  # it has stopped: nobody is there


def test_a_row_that_points_at_none_leaves_everything_as_it_was(archive: Path) -> None:
    before = contents()

    def orphan(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        columns = manifest["columns"]["servers_app.ServerEvent"]
        row = [9, 4711, "2026-11-22T03:04:05+00:00", "note", "", "", "", "", None]
        put_lines(members, "servers_app.ServerEvent", [row])
        manifest["rows"]["servers_app.ServerEvent"] = 1
        assert len(columns) == len(row)

    rewrite(archive, orphan)

    with pytest.raises(ArchiveError, match="is not whole, nothing has changed"):
        restore_all(archive)

    assert contents() == before


@pytest.mark.parametrize(
    "row",
    [
        pytest.param([1], id="too short"),
        pytest.param({"id": 1}, id="no array"),
        pytest.param(None, id="null"),
        pytest.param(["x"] * 16, id="no number"),
    ],
)
def test_a_row_that_is_none_is_named(archive: Path, row: Any) -> None:
    def spoil(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        label = "models_app.ScanRoot"
        put_lines(members, label, [row])
        manifest["rows"][label] = 1

    rewrite(archive, spoil)

    with pytest.raises(ArchiveError, match=r"Row 1 of models_app\.ScanRoot is no row of it"):
        restore_all(archive)


def test_an_archive_of_a_newer_magi_is_refused(archive: Path) -> None:
    def from_the_future(manifest: dict[str, Any], _members: dict[str, bytes]) -> None:
        manifest["migrations"].append(["servers_app", "0999_tomorrow"])
        manifest["magi"] = "9.9"

    rewrite(archive, from_the_future)

    with pytest.raises(VersionError, match=r"MAGI 9\.9, .*newer.*servers_app\.0999_tomorrow"):
        restore_all(archive)


def test_an_archive_from_before_a_column_was_added_gets_what_the_column_defaults_to(
    archive: Path,
) -> None:
    def before_it(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        manifest["migrations"].remove(["servers_app", "0007_nodes_and_sums"])
        columns = manifest["columns"]["servers_app.Node"]
        row = dict.fromkeys(columns) | {"id": 4, "name": "old", "address": "127.0.0.1"}
        row |= {"boot_id": "", "hardware": {}, "created_at": "2026-01-01T00:00:00+00:00"}
        for added in ("facts", "is_cordoned"):
            columns.remove(added)
        put_lines(members, "servers_app.Node", [[row[name] for name in columns]])
        manifest["rows"]["servers_app.Node"] = 1
        for label in ("servers_app.ServerEventDay", "servers_app.UsageDay"):
            del members[f"tables/{label}.jsonl"], manifest["columns"][label]
            del manifest["rows"][label]

    rewrite(archive, before_it)

    restore_all(archive)

    node = Node.objects.get()
    assert (node.name, node.facts, node.is_cordoned) == ("old", {}, False)


def test_an_archive_from_before_rows_were_changed_is_refused(archive: Path) -> None:
    def too_old(manifest: dict[str, Any], _members: dict[str, bytes]) -> None:
        manifest["migrations"] = [
            each for each in manifest["migrations"] if each[0] != "models_app"
        ]

    rewrite(archive, too_old)

    with pytest.raises(VersionError, match=r"since then models_app\.0.* Restore it with that"):
        restore_all(archive)


def test_a_restore_that_is_killed_in_the_middle_has_not_happened(
    archive: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    make_model("later_fast")
    before = contents()
    sign = tmp_path / "sign"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.magi_site.slow_restore", str(archive), str(sign)],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": database_url(), "MAGI_DATA_DIR": str(tmp_path)},
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not sign.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "models" in sign.read_text()  # old rows were deleted, new ones are written
        assert contents() == before  # and nobody else sees that
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert contents() == before
    restore_all(archive)  # no lock is left, either
    assert DiscoveredModel.objects.get().notes == "as it was"


def test_the_secret_key_is_taken_over_only_if_both_have_said_so(tmp_path: Path) -> None:
    key = settings.MAGI_DATA_DIR / "secret_key"
    backup(tmp_path / "b.tar.gz", with_secret_key=True)
    restore_all(tmp_path / "b.tar.gz")
    assert not key.exists()

    assert restore_all(tmp_path / "b.tar.gz", with_secret_key=True).has_taken_key

    assert key.read_text().strip() == settings.SECRET_KEY
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_no_archive_has_is_asked_for_in_vain(archive: Path) -> None:
    with pytest.raises(ArchiveError, match="made without --with-secret-key"):
        restore_all(archive, with_secret_key=True)

    assert not any(settings.MAGI_DATA_DIR.iterdir())


def test_a_text_with_a_nul_gets_into_every_database(archive: Path) -> None:
    def with_nul(_manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        label = "models_app.DiscoveredModel"
        rows = lines_of(members, label)
        rows[0] = ["a\0b" if value == "as it was" else value for value in rows[0]]
        put_lines(members, label, rows)

    rewrite(archive, with_nul)

    restore_all(archive)

    expected = "a\ufffdb" if connection.vendor == "postgresql" else "a\0b"
    assert DiscoveredModel.objects.get().notes == expected


# -- the command


def test_the_command_asks_for_a_word_before_it_replaces_anything(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents()
    with pytest.raises(CommandError, match="Nobody is there to type replace: --no-input"):
        call_command("restore", str(archive), "--replace")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console.input", lambda *_arguments: "yes")
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore", str(archive), "--replace")

    assert contents() == before


def test_the_command_tells_what_will_start(
    at_its_work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Node.objects.all().delete()

    call_command("restore", str(at_its_work), "--replace", "--no-input")

    told = capsys.readouterr().out
    assert "1 server is wanted running, and will be started" in told
    assert "1 download is and 1 measurement is under way" in told


def test_a_look_at_an_archive_changes_nothing(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents()

    call_command("restore", str(archive), "--check")
    assert "is whole: " in capsys.readouterr().out
    call_command("restore", str(archive), "--check", "--json")

    assert json.loads(capsys.readouterr().out)["rows"]["models_app.DiscoveredModel"] == 1
    assert contents() == before


def test_tables_that_only_a_migration_fills_count_as_none() -> None:
    assert tables.tables_with_rows() == []
