from typing import Any

import pytest
from pytest_django import Settings

from magi_site.guard import refusal

LOCAL = {"host": "localhost:8000"}


def scope(path: str, method: str = "POST", headers: dict[str, str] | None = None) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in (headers or LOCAL).items()]
    return {"type": "http", "path": path, "method": method, "headers": raw}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/models/rescan", "/admin/"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "localhost.evil.example"]
)
def test_a_foreign_host_is_refused(path: str, host: str) -> None:
    answer = refusal(scope(path, headers={"host": host}))

    assert answer is not None
    assert answer.status == 400
    assert "MAGI_ALLOWED_HOSTS" in answer.detail


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8000"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_site_is_refused(origin: str, method: str) -> None:
    answer = refusal(scope("/v1/models", method, {**LOCAL, "origin": origin}))

    assert answer is not None
    assert answer.status == 403


def test_a_form_of_another_site_is_refused_though_it_names_no_origin() -> None:
    headers = {**LOCAL, "sec-fetch-site": "cross-site"}

    answer = refusal(scope("/api/models/rescan", headers=headers))

    assert answer is not None
    assert answer.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(LOCAL, id="curl"),
        pytest.param({"host": "127.0.0.1:8000"}, id="by address"),
        pytest.param({"host": "[::1]:8000"}, id="by IPv6 address"),
        pytest.param({**LOCAL, "origin": "http://localhost:8000"}, id="our own page"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/models/rescan"])
def test_callers_on_this_machine_are_let_in(path: str, headers: dict[str, str]) -> None:
    assert refusal(scope(path, headers=headers)) is None


@pytest.mark.parametrize(
    ("host", "auth", "is_refused"),
    [
        ("127.0.0.1", "auto", False),
        ("0.0.0.0", "auto", True),
        ("0.0.0.0", "off", False),
        ("127.0.0.1", "required", True),
    ],
)
def test_the_gateway_is_open_on_loopback_only_unless_told_otherwise(
    settings: Settings, host: str, auth: str, is_refused: bool
) -> None:
    settings.MAGI_HOST = host
    settings.MAGI_API_AUTH = auth

    answer = refusal(scope("/v1/chat/completions"))

    assert (answer is not None) is is_refused
    assert answer is None or (answer.status, answer.is_openai) == (401, True)
