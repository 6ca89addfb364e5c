"""A backup has every row of every table, and a restore brings each back as it was."""

import errno
import inspect
import json
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from magi_site.backup import tables
from magi_site.backup.archive import Writer
from magi_site.backup.errors import BackupError
from models_app import audit
from models_app.audit_models import Action, AuditEntry
from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from servers_app.models import Server, ServerEvent
from tests.conftest import MakeModel, MakeProfile
from tests.magi_site.backups import (
    ODD,
    backup,
    contents,
    fill_every_table,
    lines_of,
    members_of,
    restore_all,
)

pytestmark = pytest.mark.django_db(transaction=True)

# What a restore writes itself, beside the rows of the archive.
OF_A_RESTORE = {
    "models_app.AuditEntry",
    "models_app.Scan",
    "servers_app.Node",
    "servers_app.Server",
}


@pytest.fixture(autouse=True)
def _own_data_dir(settings: Any, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path / "data"
    settings.MAGI_DATA_DIR.mkdir()


def test_every_table_is_in_a_backup_or_left_out_with_a_reason() -> None:
    kept = {model._meta.label for model in tables.kept_tables()}
    everything = {model._meta.label for model in apps.get_models(include_auto_created=True)}

    assert everything - kept == tables.LEFT_OUT.keys()
    assert all(tables.LEFT_OUT.values())


def test_every_row_comes_back_as_it_was(tmp_path: Path) -> None:
    fill_every_table()
    before = contents()
    assert all(before.values())  # no table was forgotten
    backup(tmp_path / "b.tar.gz")
    AuditEntry.objects.all().delete()
    DiscoveredModel.objects.update(display_name="another", notes="another")

    restore_all(tmp_path / "b.tar.gz")

    after = contents()
    assert after.keys() == before.keys()
    for label in before.keys() - OF_A_RESTORE:
        # Permissions and rights that this MAGI adds come behind those of the archive.
        assert set(before[label]) <= set(after[label]), label
    assert before["models_app.AuditEntry"] == after["models_app.AuditEntry"][:-1]
    for label in ("models_app.Scan", "servers_app.Node", "servers_app.Server"):
        assert [row[:2] for row in before[label]] == [row[:2] for row in after[label]]
    for label in tables.LEFT_OUT:
        assert not apps.get_model(label)._base_manager.exists()


def test_a_new_row_gets_a_number_that_none_has(tmp_path: Path, make_model: MakeModel) -> None:
    for number in range(5):
        make_model(f"m{number}_fast")
    highest = DiscoveredModel.objects.order_by("-pk").values_list("pk", flat=True)[0]
    backup(tmp_path / "b.tar.gz")
    restore_all(tmp_path / "b.tar.gz")

    assert make_model("another_fast").pk > highest


def test_profiles_and_registry_are_in_it_for_people_to_read(
    tmp_path: Path, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_profile("mine", make_model(notes=ODD).model_id)

    manifest = backup(tmp_path / "b.tar.gz")

    members = members_of(tmp_path / "b.tar.gz")
    assert "qwen3_4p0b_q4km_fast" in members["profiles/mine.yaml"].decode()
    assert "qwen3_4p0b_q4km_fast" in json.loads(members["registry.json"])["models"]
    assert manifest.rows["models_app.DiscoveredModel"] == 1
    assert not any("gguf" in name for name in members)


@pytest.mark.parametrize("slug", ["My_Profile-2", "perfil-ñ", ""])
def test_a_profile_comes_back_whatever_it_is_called(
    tmp_path: Path, make_profile: MakeProfile, slug: str
) -> None:
    make_profile(slug)
    backup(tmp_path / "b.tar.gz")

    restore_all(tmp_path / "b.tar.gz")

    assert Profile.objects.filter(slug=slug).exists()


def test_only_its_owner_can_read_it_and_half_of_one_is_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.tar.gz"
    backup(path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    monkeypatch.setattr(tables, "rows_of", _disk_full)

    with pytest.raises(BackupError, match=r"b\.tar\.gz cannot be written: No space left"):
        backup(path)

    assert path.read_bytes() == first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tar.gz", "data"]


def _disk_full(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_it_is_of_one_moment_while_others_write(tmp_path: Path, make_model: MakeModel) -> None:
    server = Server.objects.create(model=make_model(), node="local")
    write = _writer_of_pairs(server)
    write(0)  # one before
    paused = _Pausing(
        at="servers_app.ServerEvent", do=lambda: _in_a_thread(write, range(1, 60))
    )

    from magi_site.backup.saving import save  # noqa: PLC0415 - with a progress of ours

    save(tmp_path / "b.tar.gz", paused)

    members = members_of(tmp_path / "b.tar.gz")
    assert paused.has_paused
    assert ServerEvent.objects.count() == 60  # nobody who wrote had to wait
    assert len(lines_of(members, "servers_app.ServerEvent")) == 1
    assert len(lines_of(members, "models_app.DiscoveredModel")) == 2
    restore_all(tmp_path / "b.tar.gz")
    connection.check_constraints()


def _writer_of_pairs(server: Server) -> Callable[[int], None]:
    """Return what writes a model and an event, both or none."""

    def write(number: int) -> None:
        with transaction.atomic():
            name = f"pair{number}_fast"
            paths = {"identity": name, "file_path": name, "blob_path": name, "filename": name}
            DiscoveredModel.objects.create(
                model_id=name, family="q", display_name=name, size_bytes=1, **paths
            )
            ServerEvent.objects.create(server=server, why=name)

    return write


class _Pausing:
    """Has others write when a table is about to be read."""

    def __init__(self, at: str, do: Callable[[], None]) -> None:
        self._at = at
        self._do = do
        self.has_paused = False

    def table(self, label: str, rows: int) -> None:
        if label == self._at:
            self._do()
            self.has_paused = True

    def rows(self, count: int) -> None:
        pass


def _in_a_thread(write: Callable[[int], None], numbers: range) -> None:
    def run() -> None:
        for number in numbers:
            write(number)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_the_secret_key_is_in_it_only_if_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("backup", str(tmp_path / "without.tar.gz"))
    assert "secret key" not in capsys.readouterr().out
    call_command("backup", str(tmp_path / "with.tar.gz"), "--with-secret-key")

    assert "The secret key is in it" in capsys.readouterr().out
    assert "secret_key" not in members_of(tmp_path / "without.tar.gz")
    kept = members_of(tmp_path / "with.tar.gz")["secret_key"].decode().strip()
    assert kept == settings.SECRET_KEY


def test_a_database_that_takes_no_row_has_its_backup_all_the_same(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_row: object, **_fields: object) -> None:
        msg = "database or disk is full"
        raise OperationalError(msg)

    make_model()
    monkeypatch.setattr(audit, "record", fail)

    manifest = backup(tmp_path / "b.tar.gz")

    assert manifest.rows["models_app.DiscoveredModel"] == 1
    assert "manifest.json" in members_of(tmp_path / "b.tar.gz")


def test_a_disk_that_takes_no_more_leaves_nothing_open(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Generator[bytes]] = []

    def full(_writer: Writer, _name: str, pieces: Generator[bytes]) -> None:
        begun.append(pieces)
        for _ in pieces:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    make_model()
    monkeypatch.setattr(Writer, "add", full)

    with pytest.raises(BackupError, match="cannot be written: No space left"):
        backup(tmp_path / "b.tar.gz")

    assert inspect.getgeneratorstate(begun[-1]) == inspect.GEN_CLOSED
    assert not list(tmp_path.glob("*.tar.gz*"))


def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(BackupError, match="pipe is no plain file"):
        backup(tmp_path / "pipe")

    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(tmp_path / "b.tar.gz")

    backup(tmp_path / "latest")

    assert (tmp_path / "latest").is_symlink()
    assert "manifest.json" in members_of(tmp_path / "b.tar.gz")


def test_the_audit_tells_of_it(tmp_path: Path) -> None:
    backup(tmp_path / "b.tar.gz", with_secret_key=True)

    entry = AuditEntry.objects.get(target_kind="backup")
    assert (entry.action, entry.target_name) == (Action.EXPORT, "b.tar.gz")
    assert entry.after is not None
    assert entry.after["includes"] == "the secret key"


def test_the_command_tells_machines_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AuditEntry.objects.create(
        who="me", via="api", action="create", target_kind="x", target_id="1"
    )

    call_command("backup", str(tmp_path / "b.tar.gz"), "--json")

    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["models_app.AuditEntry"] == 1
    assert told["size_bytes"] == (tmp_path / "b.tar.gz").stat().st_size
    assert told["has_secret_key"] is False
    assert told["made_at"] <= timezone.now().isoformat()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        pytest.param("", "is a folder; name a file in it", id="a folder"),
        pytest.param("gone/b.tar.gz", "cannot be written: No such file", id="no folder"),
    ],
)
def test_where_none_can_be_written_it_says_so(tmp_path: Path, where: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("backup", str(tmp_path / where))
