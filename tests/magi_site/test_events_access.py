"""Who may listen at /api/events: whoever may call the REST API."""

import json
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client as Browser
from pytest_django import Settings

from magi_site.events import EventStream
from tests.magi_site.listening import Client, until
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def stream(redis_server: RedisServer, settings: Settings) -> AsyncIterator[EventStream]:
    settings.MAGI_HOST = "0.0.0.0"
    stream = EventStream()
    yield stream
    await stream.shutdown()
    await sync_to_async(connections.close_all)()  # those of the thread that asked


@sync_to_async
def signed_in(*, is_staff: bool, is_active: bool = True) -> str:
    """Return the session cookie of somebody who has signed in."""
    user = User.objects.create_user("ada", is_staff=is_staff)
    browser = Browser()
    browser.force_login(user)
    User.objects.update(is_active=is_active)
    name = django_settings.SESSION_COOKIE_NAME
    return f"theme=dark; {name}={browser.cookies[name].value}"


async def test_staff_may_listen(stream: EventStream) -> None:
    client = Client()
    client.call(stream, cookie=await signed_in(is_staff=True))

    await until(lambda: bool(client.text))

    assert client.status == 200
    await client.leave()


async def test_others_who_are_signed_in_may_not(stream: EventStream) -> None:
    client = Client()
    client.call(stream, cookie=await signed_in(is_staff=False))

    await client.until_ended()

    assert client.status == 403
    assert "staff" in json.loads(client.text)["detail"]


async def test_staff_who_were_shut_out_may_not(stream: EventStream) -> None:
    client = Client()
    client.call(stream, cookie=await signed_in(is_staff=True, is_active=False))

    await client.until_ended()

    assert client.status == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no cookie"),
        pytest.param({"cookie": "theme=dark"}, id="no session"),
        pytest.param({"cookie": "sessionid=0123456789abcdef"}, id="no such session"),
        pytest.param({"cookie": "sessionid=ÿ;;=;"}, id="no cookie at all"),
    ],
)
async def test_nobody_may_not(stream: EventStream, headers: dict[str, str]) -> None:
    client = Client()
    client.call(stream, **headers)

    await client.until_ended()

    assert client.status == 401
    assert client.headers[b"www-authenticate"] == b"Bearer"


async def test_a_site_that_is_told_to_be_open_is(
    stream: EventStream, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "off"
    client = Client()
    client.call(stream)

    await until(lambda: bool(client.text))

    assert client.status == 200
    await client.leave()
