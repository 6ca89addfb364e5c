"""Behind a proxy that speaks TLS: whose word counts for an address and for https."""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from magi_site import asgi
from magi_site.exposure import is_local_only, is_open
from tests.magi_site.asgi_calls import call

FORWARDED = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
PROXY, STRANGER = "10.0.0.2", "198.51.100.9"


@pytest.fixture
def seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What Django sees of a request, with a proxy at PROXY."""
    settings.MAGI_TLS, settings.MAGI_TRUSTED_PROXIES = "proxy", [PROXY]
    scopes: dict[str, Any] = {}

    async def django(scope: Any, receive: Any, send: Any) -> None:
        scopes.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    behind: ModuleType = importlib.reload(asgi)
    monkeypatch.setattr(behind, "pages", django)
    yield scopes
    settings.MAGI_TLS = "off"
    importlib.reload(asgi)


async def test_a_trusted_proxy_tells_who_calls_and_how(seen: dict[str, Any]) -> None:
    await call(asgi.application, "GET", "/admin/", FORWARDED, client=PROXY)

    assert (seen["client"][0], seen["scheme"]) == ("203.0.113.7", "https")


async def test_nobody_else_chooses_an_address(seen: dict[str, Any]) -> None:
    await call(asgi.application, "GET", "/admin/", FORWARDED, client=STRANGER)

    assert (seen["client"][0], seen["scheme"]) == (STRANGER, "http")


async def test_a_client_adds_no_address_before_the_one_that_the_proxy_saw(
    seen: dict[str, Any],
) -> None:
    lie = {**FORWARDED, "x-forwarded-for": "127.0.0.1, 203.0.113.7"}

    await call(asgi.application, "GET", "/admin/", lie, client=PROXY)

    assert seen["client"][0] == "203.0.113.7"


@pytest.mark.parametrize("said", ["unknown", "x" * 300, "fe80::1%eth0", "_hidden", "1.2.3"])
async def test_what_is_no_address_is_not_believed(said: str, seen: dict[str, Any]) -> None:
    passed_on = {"x-forwarded-for": f"{said}, {PROXY}", "x-forwarded-proto": "https"}

    await call(asgi.application, "GET", "/admin/", passed_on, client=PROXY)

    assert (seen["client"][0], seen["scheme"]) == (PROXY, "https")


async def test_without_a_proxy_nobody_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asgi.application is asgi.dispatch


def test_a_proxy_before_loopback_makes_calls_need_a_key(settings: Settings) -> None:
    assert is_local_only()
    assert is_open()

    settings.MAGI_TLS = "proxy"

    assert not is_local_only()
    assert not is_open()


def test_pages_over_http_are_sent_to_https(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    answer = client.get("/admin/login/")

    assert (answer.status_code, answer["Location"]) == (301, "https://testserver/admin/login/")
