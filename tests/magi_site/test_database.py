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


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/magi", "secret", "postgres://u@h:secret/n"]
)
def test_another_database_is_refused_without_repeating_the_url(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_URL.*sqlite:///PATH") as error:
        database_from_url(url, tmp_path, connections=7)

    assert "secret" not in str(error.value)
