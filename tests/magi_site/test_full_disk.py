"""A disk that is full: what is told, what waits for room, and what is ended all the same."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg.errors
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, OperationalError, connection, transaction
from pytest_django import Settings

from magi_site import log_files
from magi_site.log_files import turn_over
from magi_site.operations import disk
from magi_site.operations.disk import look_at_disk
from magi_site.processes import Child, Children
from models_app import space
from models_app.failures import Failure, failure_of, sentence_of
from models_app.models import ScanRoot
from models_app.space import FULL_BYTES, LOW_BYTES, Space, shortage
from servers_app.models import ServerState, Wanted
from servers_app.supervisor import settling, starting
from tests.conftest import MakeServer

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
GIB = 2**30


def fail(*args: object, **kwargs: object) -> Any:
    raise NO_SPACE


def database_that_is_full() -> BaseException:
    """Return what the database of the tests raises when its disk takes no more."""
    if connection.vendor == "postgresql":
        error = OperationalError("could not extend file")
        error.__cause__ = psycopg.errors.DiskFull("could not extend file")
        return error
    with connection.cursor() as cursor:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    try:
        with pytest.raises(OperationalError) as raised:
            ScanRoot.objects.create(node="local", path="/" + "x" * 500_000)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count = 1073741823")
    return raised.value


# -- what is told


@pytest.mark.django_db(transaction=True)
def test_a_full_database_is_told_of_and_loses_nothing() -> None:
    User.objects.create_superuser("ada")

    failure = failure_of(database_that_is_full())

    assert failure is not None
    assert (failure.status, failure.code) == (507, "disk_full")
    assert "free some space" in failure.detail
    assert User.objects.count() == 1
    ScanRoot.objects.create(node="local", path="/models")  # there is room again


def test_at_a_terminal_it_is_said_where(settings: Settings) -> None:
    sentence = sentence_of(NO_SPACE)

    assert sentence is not None
    assert sentence.startswith("No space left on a disk")
    assert str(settings.MAGI_DATA_DIR) in sentence
    assert sentence_of(ValueError("a bug")) is None
    away = sentence_of(OperationalError("connection refused\nDETAIL: x"))
    assert away == (
        "The database cannot be reached (connection refused). Start it, or check DATABASE_URL."
    )


@pytest.mark.django_db
@pytest.mark.parametrize("sql", ["SELECT 1 FROM no_such", "SELECT no_such FROM auth_user"])
def test_at_a_terminal_a_database_that_was_not_set_up_is_one(sql: str) -> None:
    with pytest.raises(DatabaseError) as lacking, transaction.atomic():
        connection.cursor().execute(sql)

    sentence = sentence_of(lacking.value)

    assert sentence is not None
    assert sentence.startswith("The database lacks what this MAGI needs (")
    assert sentence.endswith("Run `manage.py setup`.")


def test_what_was_raised_from_a_full_disk_is_one() -> None:
    try:
        try:
            fail()
        except OSError as error:
            msg = "the file was not written"
            raise ValueError(msg) from error
    except ValueError as error:
        found = failure_of(error)

    assert isinstance(found, Failure)
    assert found.code == "disk_full"
    assert failure_of(OSError(errno.EACCES, "no")) is None


@pytest.mark.parametrize(
    ("free_bytes", "status"),
    [(9 * GIB, "healthy"), (LOW_BYTES - 1, "degraded"), (FULL_BYTES - 1, "unavailable")],
)
@pytest.mark.django_db
def test_health_tells_how_much_is_left(
    monkeypatch: pytest.MonkeyPatch, free_bytes: int, status: str
) -> None:
    monkeypatch.setattr(disk, "space_of", lambda folder: Space(free_bytes, 10 * GIB))

    part = look_at_disk().as_json()

    assert (part["status"], part["free_bytes"]) == (status, free_bytes)
    is_a_file = connection.vendor == "sqlite"
    assert (part["database_bytes"] is not None) == is_a_file


# -- servers


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(space, "space_of", lambda folder: Space(FULL_BYTES - 1, GIB))
        yield patch


@pytest.mark.django_db(transaction=True)
def test_a_server_that_cannot_be_launched_is_tried_again_for_as_long_as_it_takes(
    make_server: MakeServer, full_disk: pytest.MonkeyPatch
) -> None:
    server = make_server(wanted=Wanted.RUNNING)

    for _ in range(20):  # more often than MODEL_RESTART_LIMIT
        starting.start(server)

    server.refresh_from_db()
    assert (server.state, server.wanted) == (ServerState.FAILED, Wanted.RUNNING)
    assert "No space left" in server.last_error
    assert server.next_start_at is not None
    assert server.failed_at == []
    assert settling.unsettled("local") == []
    full_disk.undo()
    assert shortage() == ""


# -- `manage.py run`


def test_what_cannot_be_remembered_is_stopped_all_the_same(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_DATA_DIR = tmp_path
    children = Children(tmp_path)
    child = children.start("sleeper", ["sleep", "600"])
    monkeypatch.setattr(Path, "write_text", fail)

    children.stop("sleeper")

    assert not child.is_alive


def test_a_log_is_turned_over_while_it_is_written(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_DATA_DIR = tmp_path
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 10)
    children = Children(tmp_path)
    child = Child("writer", ["sleep", "600"])
    children.children.append(child)
    child.log_path.parent.mkdir()
    with child.log_path.open("ab", buffering=0) as log:
        log.write(b"twelve bytes")
        children.turn_logs_over()
        log.write(b"more")

    assert child.log_path.read_bytes() == b"more"
    assert (tmp_path / "logs" / "writer.log.1").read_bytes() == b"twelve bytes"
    children.turn_logs_over()
    assert child.log_path.read_bytes() == b"more"


def test_a_log_is_emptied_where_there_is_no_room_to_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 10)
    monkeypatch.setattr(shutil, "copyfile", fail)
    path = tmp_path / "web.log"
    path.write_bytes(b"twelve bytes")

    assert turn_over(path)
    assert path.read_bytes() == b""
    assert not turn_over(tmp_path / "none.log")
