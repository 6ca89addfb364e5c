"""The gateway lets in who is signed in to the admin, and no page of another site."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client
from pytest_django import Settings

from magi_site.sessions import by_session
from servers_app.gateway.access import Caller
from servers_app.gateway.asgi import Exchange, Message
from servers_app.gateway.errors import NotAllowedError

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = _get_new_csrf_string()


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()  # those of the thread that asked


@sync_to_async
def cookie_of(*codenames: str, is_staff: bool = True, is_active: bool = True) -> str:
    """Return the cookies of somebody with these permissions who has signed in."""
    user = User.objects.create_user("ada", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    User.objects.update(is_active=is_active)
    return f"sessionid={client.cookies['sessionid'].value}; csrftoken={TOKEN}"


async def caller_by(cookie: str, method: str = "POST", **headers: str) -> Caller | None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/v1/chat/completions",
        "query_string": b"",
        "scheme": "http",
        "server": ("localhost", 8000),
        "client": ("127.0.0.1", 5),
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in {"host": "localhost:8000", "cookie": cookie, **headers}.items()
            if value
        ],
    }

    async def receive() -> Message:
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    return await by_session(Exchange(scope, receive, send))


async def test_who_may_send_requests_is_let_in_under_their_name() -> None:
    cookie = await cookie_of("infer")

    assert await caller_by(cookie, x_csrftoken=TOKEN) == Caller("user ada")


async def test_to_see_the_models_staff_need_no_permission_and_no_token() -> None:
    assert await caller_by(await cookie_of(), "GET") == Caller("user ada")


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        pytest.param({}, "CSRF", id="no token"),
        pytest.param({"x_csrftoken": _get_new_csrf_string()}, "CSRF", id="another token"),
        pytest.param({"x_csrftoken": "short"}, "CSRF", id="no token at all"),
        pytest.param(
            {"x_csrftoken": TOKEN, "origin": "https://evil.example"},
            "CSRF",
            id="a foreign site",
        ),
    ],
)
async def test_a_request_that_another_site_might_have_made_is_refused(
    headers: dict[str, str], told: str
) -> None:
    cookie = await cookie_of("infer")

    with pytest.raises(NotAllowedError, match=told):
        await caller_by(cookie, **headers)


async def test_the_token_needs_its_cookie() -> None:
    cookie = (await cookie_of("infer")).partition(";")[0]

    with pytest.raises(NotAllowedError, match="CSRF"):
        await caller_by(cookie, x_csrftoken=TOKEN)


async def test_staff_without_the_permission_are_told_which() -> None:
    cookie = await cookie_of("view_server")

    with pytest.raises(NotAllowedError, match=r"servers_app\.infer"):
        await caller_by(cookie, x_csrftoken=TOKEN)


async def test_who_is_no_staff_is_told_so() -> None:
    cookie = await cookie_of("infer", is_staff=False)

    with pytest.raises(NotAllowedError, match="staff"):
        await caller_by(cookie, x_csrftoken=TOKEN)


async def test_who_was_shut_out_is_nobody() -> None:
    cookie = await cookie_of("infer", is_active=False)

    assert await caller_by(cookie, x_csrftoken=TOKEN) is None


@pytest.mark.parametrize(
    "cookie", ["", "theme=dark", "sessionid=0123456789abcdef", "sessionid=ÿ;;=;"]
)
async def test_without_a_session_nobody_is_signed_in(cookie: str) -> None:
    assert await caller_by(cookie, x_csrftoken=TOKEN) is None


@pytest.mark.parametrize("auth", ["required", "auto"])
async def test_the_site_needs_a_key_where_it_is_not_open(settings: Settings, auth: str) -> None:
    """The ASGI application, with nothing between: neither a key nor a session is 401."""
    from magi_site.asgi import application  # noqa: PLC0415 - reads settings

    settings.MAGI_API_AUTH = auth
    settings.MAGI_HOST = "0.0.0.0"
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/models",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await application(scope, receive, send)

    assert sent[0]["status"] == 401
    assert b"apikey new" in sent[1]["body"]
