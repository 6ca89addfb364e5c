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
from models_app.events import publish
from servers_app.apikey_models import ApiKey, Scope
from servers_app.apikeys import new_key, revoke
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


@sync_to_async
def key_of(scope: Scope, *, per_minute: int | None = None) -> tuple[ApiKey, str]:
    return new_key("ci", scopes=[scope], rate_limit_per_minute=per_minute)


async def test_a_key_to_read_may_listen_until_it_is_revoked(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("magi_site.stream_access.KEY_INTERVAL_S", 0)
    key, secret = await key_of(Scope.READ)
    client = Client()
    client.call(stream, authorization=f"Bearer {secret}")
    await until(lambda: bool(client.text))
    assert client.status == 200

    await sync_to_async(revoke)(key)
    await sync_to_async(publish)("model", {"model_id": "a"})
    await client.until_ended()

    assert "model_id" not in client.text


async def test_staff_who_are_shut_out_while_they_listen_hear_no_more(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("magi_site.stream_access.SESSION_INTERVAL_S", 0)
    client = Client()
    client.call(stream, cookie=await signed_in(is_staff=True))
    await until(lambda: bool(client.text))

    await User.objects.aupdate(is_active=False)
    await sync_to_async(publish)("model", {"model_id": "a"})
    await client.until_ended()

    assert "model_id" not in client.text


async def test_a_key_for_something_else_may_not(stream: EventStream) -> None:
    _, secret = await key_of(Scope.INFER)
    client = Client()
    client.call(stream, authorization=f"Bearer {secret}")

    await client.until_ended()

    assert client.status == 403
    assert "read" in json.loads(client.text)["detail"]


async def test_a_key_that_comes_back_too_often_is_told_when_to(stream: EventStream) -> None:
    _, secret = await key_of(Scope.READ, per_minute=1)
    first, second = Client(), Client()
    first.call(stream, authorization=f"Bearer {secret}")
    await until(lambda: bool(first.text))

    second.call(stream, authorization=f"Bearer {secret}")
    await second.until_ended()

    assert second.status == 429
    assert 1 <= int(second.headers[b"retry-after"]) <= 60
    await first.leave()


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_key_that_is_not_known_may_not(
    stream: EventStream, settings: Settings, is_open: bool
) -> None:
    settings.MAGI_API_AUTH = "off" if is_open else "required"
    client = Client()
    client.call(stream, authorization="Bearer magi_" + "0" * 64)

    await client.until_ended()

    assert client.status == 401
