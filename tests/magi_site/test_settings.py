"""The settings file, read by a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings


def check(tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "MAGI_DATA_DIR": str(tmp_path / "data"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bad_value_fails_by_name_in_one_sentence(tmp_path: Path) -> None:
    done = check(tmp_path, MODEL_CONCURRENT_STARTS="maybe")

    assert done.returncode == 1
    assert done.stderr.startswith("MAGI is not configured: MODEL_CONCURRENT_STARTS='maybe'")
    assert len(done.stderr.splitlines()) == 1


def test_the_env_file_is_read_and_the_environment_wins_over_it(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("MAGI_PORT=seventy\n")

    from_file = check(tmp_path, MAGI_ENV_FILE=str(env_file))
    overruled = check(tmp_path, MAGI_ENV_FILE=str(env_file), MAGI_PORT="8000")

    assert "MAGI_PORT='seventy'" in from_file.stderr
    assert overruled.returncode == 0


def test_the_secret_key_is_generated_on_the_first_start(tmp_path: Path) -> None:
    check(tmp_path)

    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
