"""The settings file, read by a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_CONCURRENT_STARTS", "maybe"),
        ("MAGI_LOG_LEVEL", "loud"),
        ("MAGI_TIME_ZONE", "Mars"),
    ],
)
def test_a_bad_value_fails_by_name_in_one_sentence(
    tmp_path: Path, name: str, value: str
) -> None:
    done = check(tmp_path, **{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f"MAGI is not configured: {name}='{value}'")
    assert len(done.stderr.splitlines()) == 1


def test_whatever_a_data_folder_is_called_everything_lies_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%41é"
    program = (
        "from django.conf import settings; from redis.connection import parse_url; "
        "print(settings.DATABASES['default']['NAME']); "
        "print(parse_url(settings.REDIS_URL)['path']); "
        "print(settings.MAGI_RUN_DIR)"
    )
    environment = {**os.environ, "MAGI_DATA_DIR": str(folder), "DATABASE_URL": ""}
    environment |= {"REDIS_URL": "", "DJANGO_SETTINGS_MODULE": "magi_site.settings"}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    database, socket, run_dir = done.stdout.splitlines()
    assert database == str(folder / "magi.sqlite3")
    assert socket == f"{run_dir}/redis.sock"


def test_the_env_file_is_read_and_the_environment_wins_over_it(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("MAGI_PORT=seventy\n")

    from_file = check(tmp_path, MAGI_ENV_FILE=str(env_file))
    overruled = check(tmp_path, MAGI_ENV_FILE=str(env_file), MAGI_PORT="8000")

    assert "MAGI_PORT='seventy'" in from_file.stderr
    assert overruled.returncode == 0


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08", b"MAGI_PORT=80\x0000\n"])
def test_an_env_file_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    env_file = tmp_path / "env"
    env_file.write_bytes(content)

    done = check(tmp_path, MAGI_ENV_FILE=str(env_file))

    assert done.returncode == 1
    assert done.stderr.startswith(f"MAGI is not configured: {env_file} cannot be read")
    assert len(done.stderr.splitlines()) == 1


def test_the_secret_key_is_generated_on_the_first_start(tmp_path: Path) -> None:
    check(tmp_path)

    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
