"""While the database is away: who asks is answered within seconds, with what is wrong."""

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import Client, RequestFactory
from pytest_django import Settings

from magi_site import away, error_pages
from magi_site.away import DatabaseWatch
from magi_site.operations.component import Component, Health
from tests.magi_site.asgi_calls import Answer, call

HEALTHY = Component(Health.HEALTHY, "It answers.")
PATIENCE_S = 30.0  # a watchdog, far above what anything takes


class Database:
    """A database that can be made to hang, and an application that waits for it."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.is_there.set()
        self.asked = 0
        self.looked = 0
        self.watch = DatabaseWatch(self.application, self.look)

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await sync_to_async(self.wait, thread_sensitive=False)()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})

    def wait(self) -> None:
        assert self.is_there.wait(PATIENCE_S)

    def look(self) -> Component:
        self.looked += 1
        self.wait()
        return HEALTHY

    async def get(self, path: str, method: str = "GET") -> Answer:
        return await asyncio.wait_for(call(self.watch, method, path), PATIENCE_S)


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(away, "PATIENCE_S", 0.05)
    monkeypatch.setattr(away, "LOOK_S", 0.1)
    monkeypatch.setattr(away, "looks", _Looks())
    database = Database()
    yield database
    database.is_there.set()
    await asyncio.gather(*database.watch._left, return_exceptions=True)


class _Looks:
    """As magi_site/operations/looks.py: one look at a time, joined by who comes."""

    def __init__(self) -> None:
        self.running: Any = None

    def begin(self, name: str, look: Any) -> Any:
        if self.running is None or self.running.done():
            future: Any = Future()
            self.running = future
            threading.Thread(target=lambda: future.set_result(look()), daemon=True).start()
        return self.running


async def test_while_it_answers_nobody_looks_at_it(database: Database) -> None:
    for _ in range(5):
        assert (await database.get("/admin/")).body == b"a page"

    assert (database.asked, database.looked) == (5, 0)


async def test_a_page_that_waits_for_a_database_that_hangs_is_answered(
    database: Database,
) -> None:
    database.is_there.clear()

    answer = await database.get("/admin/login/")

    assert answer.status == 503
    assert answer.header(b"content-type") == b"text/html; charset=utf-8"
    assert answer.header(b"retry-after") == b"5"
    assert b"frame-ancestors 'none'" in (answer.header(b"content-security-policy") or b"")
    assert b"The database does not answer" in answer.body


@pytest.mark.parametrize(
    ("path", "field"), [("/api/models/registry", "detail"), ("/ai/v1/switch", "error")]
)
async def test_calls_are_answered_in_json(database: Database, path: str, field: str) -> None:
    database.is_there.clear()

    answer = await database.get(path)

    assert answer.status == 503
    assert "database does not answer" in json.loads(answer.body)[field]


async def test_what_was_begun_may_yet_be_done_and_that_is_said(database: Database) -> None:
    database.is_there.clear()

    begun = await database.get("/api/models/servers/start-all", "POST")
    refused = await database.get("/api/models/servers/start-all", "POST")

    assert "may be done yet" in json.loads(begun.body)["detail"]
    assert "was not done" in json.loads(refused.body)["detail"]


async def test_once_it_is_away_nobody_else_is_made_to_wait_for_a_thread(
    database: Database,
) -> None:
    database.is_there.clear()
    for _ in range(5):
        assert (await database.get("/admin/")).status == 503

    assert (database.asked, database.looked) == (1, 1)


async def test_when_it_is_back_pages_are(database: Database) -> None:
    database.is_there.clear()
    assert (await database.get("/admin/")).status == 503
    database.is_there.set()

    assert (await database.get("/admin/")).body == b"a page"


async def test_a_page_that_takes_its_time_is_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.watch, "_look", lambda: HEALTHY)
    database.is_there.clear()
    asyncio.get_running_loop().call_later(0.5, database.is_there.set)

    assert (await database.get("/admin/")).body == b"a page"


async def test_what_needs_no_database_is_not_held_back(database: Database) -> None:
    database.is_there.clear()
    await database.get("/admin/")

    asyncio.get_running_loop().call_later(0.5, database.is_there.set)
    answer = await database.get("/static/magi/live.js")

    assert (answer.body, database.asked) == (b"a page", 2)


# -- where it fails at once


def full() -> OperationalError:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL
    error = OperationalError("database or disk is full")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        pytest.param(OperationalError("refused"), 503, "database does not", id="away"),
        pytest.param(full(), 507, "No space left", id="SQLite is full"),
        pytest.param(OSError(28, os.strerror(28)), 507, "No space left", id="disk is full"),
        pytest.param(ValueError("a bug"), 500, "failed", id="a bug"),
    ],
)
def test_what_fails_the_machine_is_told_from_a_bug(
    error: Exception, status: int, word: str
) -> None:
    try:
        raise error
    except type(error):
        call = error_pages.server_error(RequestFactory().get("/api/models/registry"))
        page = error_pages.server_error(RequestFactory().get("/admin/"))

    assert (call.status_code, page.status_code) == (status, status)
    assert word in json.loads(call.content)["detail"]
    assert "hunter2" not in page.content.decode()


@pytest.mark.django_db
def test_a_page_whose_sessions_cannot_be_read_says_so(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def fail(self: object) -> None:
        msg = "connection refused at secret-host"
        raise OperationalError(msg)

    monkeypatch.setattr(SessionStore, "load", fail)
    client = Client(raise_request_exception=False)
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32

    response = client.get("/admin/")

    assert response.status_code == 503
    assert "The database does not answer" in response.content.decode()
    assert "secret-host" not in response.content.decode()
