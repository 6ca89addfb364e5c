"""Whose change it is, as the web server has it: many requests at once, in one process."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient

from models_app.acting import actor
from models_app.audit_models import AuditEntry, Via

pytestmark = pytest.mark.django_db(transaction=True)

PROFILES = "/api/models/profiles"


@pytest.fixture(autouse=True)
async def _no_connection_is_left() -> AsyncIterator[None]:
    """Close that of the thread in which Django's views have run."""
    yield
    await sync_to_async(connections.close_all)()


async def test_requests_at_once_are_told_apart() -> None:
    names = [f"user-{number}" for number in range(6)]
    clients = [await _signed_in(name) for name in names]

    answers = await asyncio.gather(
        *(
            client.post(PROFILES, {"name": name}, content_type="application/json")
            for client, name in zip(clients, names, strict=True)
        )
    )

    assert [answer.status_code for answer in answers] == [201] * 6
    made = AuditEntry.objects.filter(action="create")
    assert {(each.who, each.target_id) async for each in made} == {(n, n) for n in names}
    assert {each.via async for each in made} == {Via.API}


async def test_after_a_request_it_is_nobodys_turn() -> None:
    client = AsyncClient()

    await client.post(PROFILES, {"name": "Mine"}, content_type="application/json")

    assert actor().via == Via.COMMAND


@pytest.mark.parametrize("given", ["trace-1", "x" * 500, "two words", "\x7f", ""])
async def test_the_id_of_a_request_is_kept_if_it_is_one(given: str) -> None:
    await AsyncClient().post(
        PROFILES,
        {"name": "Mine"},
        content_type="application/json",
        headers={"X-Request-Id": given},
    )

    kept = (await AuditEntry.objects.aget(action="create")).request_id
    assert kept == (given[:128] if given.isprintable() else "")


async def _signed_in(name: str) -> AsyncClient:
    user = await User.objects.acreate_user(name, is_staff=True, is_superuser=True)
    client = AsyncClient()
    await client.aforce_login(user)
    return client
