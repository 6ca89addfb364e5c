"""What every answer tells a browser."""

from collections.abc import Mapping

import pytest
from django.test import Client
from pytest_django import Settings

from magi_site.asgi import dispatch
from servers_app.gateway.asgi import SAFE
from tests.magi_site.asgi_calls import call

pytestmark = pytest.mark.django_db

PAGES = [
    "/admin/login/",
    "/api/models/profiles",
    "/api/no-such-call",
    "/static/admin/css/base.css",
]


def headers_of(client: Client, path: str) -> Mapping[str, str]:
    response = client.get(path)
    response.close()  # a static file is one that is open
    return response.headers


@pytest.mark.parametrize("path", PAGES)
def test_no_page_runs_a_script_or_a_style_that_stands_in_it(client: Client, path: str) -> None:
    policy = headers_of(client, path)["Content-Security-Policy"]

    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))

    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["default-src"] == directives["connect-src"] == "'self'"
    assert directives["object-src"] == directives["frame-ancestors"] == "'none'"
    assert directives["base-uri"] == "'none'"
    assert directives["form-action"] == "'self'"
    assert not [words for words in directives.values() if "unsafe" in words or "*" in words]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_what_it_says_and_is_for_nobody_else(client: Client, path: str) -> None:
    headers = headers_of(client, path)

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.parametrize("path", PAGES[:3])
def test_what_is_about_this_moment_is_not_stored(client: Client, path: str) -> None:
    assert "no-store" in headers_of(client, path)["Cache-Control"]


def test_static_files_may_be_stored_and_are_not_for_other_origins(client: Client) -> None:
    headers = headers_of(client, PAGES[3])

    assert "no-store" not in headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in headers


def test_no_script_reads_a_cookie_and_no_other_site_sends_it(
    client: Client, settings: Settings, admin_user: object
) -> None:
    answer = client.post(
        "/admin/login/?next=/admin/", {"username": "admin", "password": "password"}
    )

    assert answer.status_code == 302
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        cookie = answer.cookies[name]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("path", ["/health", "/v1/no-such-call", "/api/events"])
async def test_what_does_not_come_from_django_says_so_too(path: str) -> None:
    answer = await call(dispatch, "POST", path, {"content-type": "application/json"})

    assert set(SAFE) <= set(answer.headers)
