from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from magi_site.database import database_from_url


def test_without_a_url_the_database_is_sqlite_in_the_data_folder(tmp_path: Path) -> None:
    config = database_from_url("", tmp_path, connections=7)

    assert config["ENGINE"] == "django.db.backends.sqlite3"
    assert config["NAME"] == str(tmp_path / "magi.sqlite3")
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_postgresql_is_taken_from_the_url(tmp_path: Path) -> None:
    config = database_from_url("postgres://me:secret@db:5433/magi", tmp_path, connections=7)

    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db", 5433, "magi")
    assert config["OPTIONS"]["pool"]["max_size"] == 7


def test_a_connection_that_does_not_answer_is_given_up_at_both_ends(tmp_path: Path) -> None:
    options = database_from_url("postgres://db/magi", tmp_path, connections=7)["OPTIONS"]

    assert options["tcp_user_timeout"] == 10_000
    assert options["keepalives_idle"] + 3 * options["keepalives_interval"] < 15
    assert "-c tcp_user_timeout=10000" in options["options"]
    assert options["pool"]["reconnect_timeout"] == 1


def test_what_the_url_says_goes_first(tmp_path: Path) -> None:
    url = "postgres://db/magi?connect_timeout=30&options=-c%20lock_timeout%3D5"

    options = database_from_url(url, tmp_path, connections=7)["OPTIONS"]

    assert options["connect_timeout"] == 30
    assert options["options"] == "-c lock_timeout=5"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@db/magi",
        "secret",
        "postgres://u@h:secret/n",
        "sqlite://",
        "sqlite:///",
    ],
)
def test_another_database_is_refused_without_repeating_the_url(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_URL.*sqlite:///PATH") as error:
        database_from_url(url, tmp_path, connections=7)

    assert "secret" not in str(error.value)
