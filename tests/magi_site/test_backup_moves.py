"""A backup moves MAGI from SQLite to PostgreSQL, and back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.ports import free_port
from tests.postgres_server import PostgresServer

PATIENCE_S = 240.0  # a watchdog, far above what anything takes
FILL = """
import django; django.setup()
from tests.magi_site.backups import fill_every_table
fill_every_table()
"""
# What every table has, apart from what a restore writes itself; then a row of one's own.
DUMP = """
import django; django.setup()
from tests.magi_site.backups import contents
from models_app.models import ScanRoot
from models_app.audit_models import AuditEntry
own = {"models_app.AuditEntry", "auth.Permission", "contenttypes.ContentType"}
all_rows = contents()
rows = {label: sorted(map(repr, all_rows[label])) for label in all_rows.keys() - own}
import json; print(json.dumps(rows))
ScanRoot.objects.create(node="here", path="/new").delete()
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    (tmp_path / "postgres").mkdir()
    tmp_path.chmod(0o755)
    server = PostgresServer(tmp_path / "postgres", free_port())
    server.start()
    yield server
    server.kill()


def run(url: str, folder: Path, *arguments: str) -> str:
    """Run Python with `arguments` over the database `url`; return what it wrote."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "MAGI_DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "magi_site.settings",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_there_and_back_every_row_is_what_it_was(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    there, back = str(tmp_path / "there.tar.gz"), str(tmp_path / "back.tar.gz")
    sqlite, another = (
        f"sqlite:///{tmp_path / 'a.sqlite3'}",
        f"sqlite:///{tmp_path / 'b.sqlite3'}",
    )
    folder = tmp_path / "data"
    run(sqlite, folder, "manage.py", "migrate", "-v0")
    run(sqlite, folder, "-c", FILL)
    run(sqlite, folder, "manage.py", "backup", there)
    run(postgres.url, folder, "manage.py", "restore", there)
    on_postgresql = json.loads(run(postgres.url, folder, "-c", DUMP))
    run(postgres.url, folder, "manage.py", "backup", back)
    run(another, folder, "manage.py", "restore", back)
    on_sqlite = json.loads(run(another, folder, "-c", DUMP))

    assert on_sqlite == on_postgresql
    assert all(rows for rows in on_sqlite.values())
