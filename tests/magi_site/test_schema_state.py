"""One setup at a time, and a word about a database of another version."""

import threading
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import Settings

from magi_site import schema_state
from magi_site.schema_state import ahead, behind, difference, one_setup

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_data_dir(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path


def test_of_the_same_version_there_is_nothing_to_say() -> None:
    assert (ahead(), behind(), difference()) == ([], [], "")


def test_a_database_of_a_newer_magi_is_told_of_and_serves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("servers_app", "0999_tomorrow")
    try:
        call_command("setup")
        told = capsys.readouterr().out
    finally:
        recorder.record_unapplied("servers_app", "0999_tomorrow")

    assert "The database is of a newer MAGI (servers_app.0999_tomorrow) than this one" in told
    assert "serves with what it knows" in told


def test_a_database_that_was_not_migrated_yet_is_told_of() -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("servers_app", "0007_nodes_and_sums")
    try:
        assert "lacks servers_app.0007_nodes_and_sums: run `manage.py setup`" in difference()
    finally:
        recorder.record_applied("servers_app", "0007_nodes_and_sums")


def test_an_app_that_is_not_here_any_more_makes_nothing_newer() -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("gone_app", "0001_initial")
    try:
        assert ahead() == []
    finally:
        recorder.record_unapplied("gone_app", "0001_initial")


def test_the_second_setup_waits_for_the_first() -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with one_setup(waits.set):
            order.append("second")
        connection.close()

    thread = threading.Thread(target=second)
    with one_setup(lambda: None):
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(60)

    assert order == ["first", "second"]


def test_one_that_waits_too_long_says_so() -> None:
    failed: list[str] = []

    def second() -> None:
        try:
            with one_setup(lambda: None, patience_s=0.1):
                failed.append("it got in")
        except ImproperlyConfigured as error:
            failed.append(str(error))
        connection.close()

    with one_setup(lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(60)

    assert "Another `manage.py setup` has been at work" in failed[0]


def test_a_setup_that_failed_leaves_no_lock() -> None:
    with pytest.raises(KeyError), one_setup(lambda: None):
        raise KeyError

    with one_setup(lambda: pytest.fail("somebody holds it still")):
        pass


def test_a_database_that_is_away_is_asked_for_the_lock_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away:
        connection = None
        asked = 0

        def cursor(self) -> None:
            self.asked += 1
            raise OperationalError

        def close(self) -> None:
            pass

    away = Away()
    connect = "magi_site.schema_state.connections.create_connection"
    monkeypatch.setattr(connect, lambda _alias: away)

    with pytest.raises(OperationalError), schema_state._advisory_lock() as is_held:
        is_held()

    assert away.asked == 1


def test_two_setups_at_once_make_one_of_everything(tmp_path: Path) -> None:
    threads = [threading.Thread(target=_setup) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    from django.contrib.auth.models import User  # noqa: PLC0415 - beside what uses it

    from profiles_app.models import Profile  # noqa: PLC0415

    assert (User.objects.count(), Profile.objects.count()) == (1, 3)


def _setup() -> None:
    call_command("setup")
    connection.close()


def test_a_database_that_is_away_stops_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError  # noqa: PLC0415

    def away() -> str:
        raise OperationalError

    monkeypatch.setattr(schema_state, "difference", away)

    schema_state._say()
