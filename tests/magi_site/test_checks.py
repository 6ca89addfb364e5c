from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from magi_site.preflight import check_redis


def ids() -> set[str]:
    return {str(message.id) for message in run_checks()} - {"models.W042"}


def test_the_defaults_pass(settings: Settings) -> None:
    assert ids() == set()


def test_a_scan_path_that_is_missing_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path, tmp_path / "missing"]

    messages = [message for message in run_checks() if message.id == "models_app.W001"]

    assert [message.msg for message in messages] == [
        f"MODEL_SCAN_PATH: {tmp_path / 'missing'} is not a folder."
    ]


def test_an_engine_that_cannot_be_run_is_an_error(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "llama-server").write_text("not executable")
    settings.LLAMA_SERVER_PATH = str(tmp_path / "llama-server")

    assert ids() == {"servers_app.E003"}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (8100, 8099, "servers_app.E001"),
        (80, 8099, "servers_app.E002"),
        (7990, 8099, "servers_app.W001"),
    ],
)
def test_a_port_range_that_cannot_work_is_found(
    settings: Settings, start: int, end: int, expected: str
) -> None:
    settings.MODEL_PORT_RANGE_START = start
    settings.MODEL_PORT_RANGE_END = end

    assert expected in ids()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "short", "magi_site.E001"),
        ("DEBUG", True, "magi_site.E002"),
        ("MAGI_API_AUTH", "off", "magi_site.W001"),
    ],
)
def test_what_is_fine_on_loopback_is_not_beyond_it(
    settings: Settings, name: str, value: object, expected: str
) -> None:
    setattr(settings, name, value)
    assert expected not in ids()

    settings.MAGI_HOST = "0.0.0.0"

    assert expected in ids()


def test_a_redis_that_cannot_be_reached_is_told_with_the_reason(settings: Settings) -> None:
    settings.OWN_REDIS = False
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    with pytest.raises(ImproperlyConfigured, match=r"Connection refused\. Check REDIS_URL"):
        check_redis()
