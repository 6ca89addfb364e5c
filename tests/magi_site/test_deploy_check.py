"""`manage.py check --deploy`, read by a process of its own, as CI and people run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

BEHIND_A_PROXY = {"MAGI_TLS": "proxy", "MAGI_ALLOWED_HOSTS": "magi.example.org"}


def check(tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "MAGI_DATA_DIR": str(tmp_path / "data"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [{}, BEHIND_A_PROXY, {**BEHIND_A_PROXY, "MAGI_HOST": "0.0.0.0"}],
    ids=["make run", "a proxy on this machine", "a proxy on another one"],
)
def test_what_is_meant_to_be_deployed_has_nothing_said_against_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = check(tmp_path, **environment)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_network_without_tls_is_warned_of(tmp_path: Path) -> None:
    done = check(tmp_path, MAGI_HOST="0.0.0.0")

    assert done.returncode == 1
    assert "(magi_site.W002) MAGI listens on 0.0.0.0 without TLS." in done.stderr
    assert "security.W012" in done.stderr


def test_what_weakens_a_deployment_is_named(tmp_path: Path) -> None:
    weak = {
        "MAGI_ALLOWED_HOSTS": "*",
        "MAGI_SECRET_KEY": "short",
        "MAGI_DEBUG": "true",
        "MAGI_HSTS_SECONDS": "0",
        "MAGI_ALLOWED_EXTRA_ARGS": "--rpc,--port,-m",
    }

    done = check(tmp_path, **{**BEHIND_A_PROXY, **weak})

    assert done.returncode == 1
    for words in (
        "magi_site.W003",
        "security.W009",
        "security.W018",
        "security.W004",
        "cannot be allowed: --port, -m.",
    ):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAGI_TRUSTED_PROXIES", "*"),
        ("MAGI_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("MAGI_TRUSTED_PROXIES", "proxy.example"),
        ("MAGI_ALLOWED_EXTRA_ARGS", "rpc"),
        ("MAGI_TLS", "on"),
    ],
)
def test_a_value_that_cannot_be_meant_stops_the_start(
    tmp_path: Path, name: str, value: str
) -> None:
    done = check(tmp_path, **{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f"MAGI is not configured: {name}")
