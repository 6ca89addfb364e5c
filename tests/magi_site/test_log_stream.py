"""GET /api/models/servers/ID/logs under a real uvicorn: its end, and as it is written."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from magi_site.log_stream import LogStream
from servers_app import logs
from servers_app.models import Server
from tests.conftest import MakeModel, MakeServer
from tests.magi_site.listening import PATIENCE_S, serving

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "qwen3_4p0b_q4km_fast"
PATH = f"/api/models/servers/{MODEL}/logs"
POLL_S = 0.005

Append = Callable[[str], None]


@pytest.fixture
def server(make_server: MakeServer, settings: Settings, tmp_path: Path) -> Server:
    settings.MAGI_DATA_DIR = tmp_path
    server = make_server()
    logs.log_path(server.pk).parent.mkdir(parents=True)
    return server


@pytest.fixture
def append(server: Server) -> Append:
    def write(text: str) -> None:
        with logs.log_path(server.pk).open("a", newline="") as log:
            log.write(text)

    return write


@pytest.fixture(autouse=True)
async def closed_connections() -> AsyncIterator[None]:
    """Close those of the thread that asks the database for us."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def stream() -> AsyncIterator[LogStream]:
    stream = LogStream(poll_s=POLL_S)
    yield stream
    stream.end()


@pytest.fixture
async def url(stream: LogStream) -> AsyncIterator[str]:
    async with serving(stream) as address:
        yield address + PATH


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


async def next_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the fields of the next event, comments and all."""
    block = (await response.content.readuntil(b"\n\n")).decode().strip("\n")
    return dict(line.split(": ", 1) for line in block.split("\n"))


async def next_line(response: aiohttp.ClientResponse) -> str:
    while "data" not in (event := await next_event(response)):
        pass
    return event["data"]


async def answer_of(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(url) as response:
        return response.status, (await response.json())["detail"]


# -- its end


async def test_the_last_lines_are_answered_as_text(
    session: aiohttp.ClientSession, url: str, append: Append
) -> None:
    append("<b>a</b>\n\x1b[31mb\nc")

    async with session.get(f"{url}?lines=2") as response:
        text = await response.text()

    assert (response.status, text) == (200, "b\nc\n")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_200_lines_are_answered_unless_others_are_asked_for(
    session: aiohttp.ClientSession, url: str, append: Append
) -> None:
    append("".join(f"{number}\n" for number in range(20_000)))

    counts = {}
    for query in ("", "?lines=1", "?lines=10000", "?follow=0&replica=0"):
        async with session.get(url + query) as response:
            counts[query] = len((await response.text()).splitlines())

    assert counts == {
        "": 200,
        "?lines=1": 1,
        "?lines=10000": 10_000,
        "?follow=0&replica=0": 200,
    }


@pytest.mark.parametrize("query", ["", "?follow=0"])
async def test_a_server_that_has_written_nothing_has_an_empty_log(
    session: aiohttp.ClientSession, url: str, server: Server, query: str
) -> None:
    async with session.get(url + query) as response:
        assert (response.status, await response.text()) == (200, "")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("lines=0", "lines=0 is not a number from 1 to 10000."),
        ("lines=10001", "lines=10001 is not a number from 1 to 10000."),
        ("lines=", "lines= is not a number from 1 to 10000."),
        ("lines=-5", "lines=-5 is not a number from 1 to 10000."),
        ("lines=1e3", "lines=1e3 is not a number from 1 to 10000."),
        ("lines=%EF%BC%91", "lines=\uff11 is not a number from 1 to 10000."),
        ("lines=" + "9" * 5000, "lines=" + "9" * 40 + " is not a number from 1 to 10000."),
        ("follow=yes", "follow=yes is not 1 (or true) or 0 (or false)."),
        ("replica=-1", "replica=-1 is not a number from 0 to 15."),
        ("replica=16", "replica=16 is not a number from 0 to 15."),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_with_what_can(
    session: aiohttp.ClientSession, url: str, query: str, detail: str
) -> None:
    assert await answer_of(session, f"{url}?{query}") == (400, detail)


# -- whose


async def test_a_model_that_is_not_there_is_answered_with_what_is(
    session: aiohttp.ClientSession, url: str, server: Server
) -> None:
    status, detail = await answer_of(session, url.replace("qwen3", "qwen9"))

    assert status == 404
    assert MODEL in detail


async def test_a_model_that_never_ran_is_told(
    make_model: MakeModel, session: aiohttp.ClientSession, url: str
) -> None:
    await sync_to_async(make_model)()

    status, detail = await answer_of(session, url)

    assert (status, detail) == (404, f"{MODEL} has never been started.")


async def test_each_replica_has_a_log_of_its_own(
    session: aiohttp.ClientSession, url: str, server: Server, append: Append
) -> None:
    second = await Server.objects.acreate(model=server.model, node="local", replica=1)
    append("of the first\n")
    logs.log_path(second.pk).parent.mkdir()
    logs.log_path(second.pk).write_text("of the second\n")

    async with session.get(f"{url}?replica=1") as response:
        text = await response.text()
    third = await answer_of(session, f"{url}?replica=2")

    assert text == "of the second\n"
    detail = f"Replica 2 of {MODEL} has never been started. Its replicas are: 0, 1."
    assert third == (404, detail)


async def test_a_log_on_another_machine_is_named(
    session: aiohttp.ClientSession, url: str, server: Server
) -> None:
    await Server.objects.filter(pk=server.pk).aupdate(node="attic")

    status, detail = await answer_of(session, url)

    assert status == 404
    assert f"on node attic: servers/{server.pk}/server.log" in detail


async def test_a_log_that_another_machine_shares_is_shown(
    session: aiohttp.ClientSession, url: str, server: Server, append: Append
) -> None:
    await Server.objects.filter(pk=server.pk).aupdate(node="attic")
    append("shared\n")

    async with session.get(url) as response:
        assert await response.text() == "shared\n"


@pytest.mark.parametrize("follow", ["0", "1"])
async def test_a_log_that_cannot_be_read_is_told(
    session: aiohttp.ClientSession, url: str, server: Server, follow: str
) -> None:
    logs.log_path(server.pk).mkdir()

    status, detail = await answer_of(session, f"{url}?follow={follow}")

    assert status == 503
    assert "Is a directory" in detail


# -- as it is written


async def test_lines_are_sent_as_they_are_written(
    session: aiohttp.ClientSession, url: str, append: Append
) -> None:
    append("a\nb\n")

    async with session.get(f"{url}?follow=1&lines=1") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert await next_event(response) == {"retry": "2000"}
        assert await next_line(response) == "b"
        append("c\rd\ndata: e\n\n")

        assert [await next_line(response) for _ in range(2)] == ["d", "data: e"]


async def test_a_stream_goes_on_when_the_log_is_turned_over_and_the_server_launched_anew(
    session: aiohttp.ClientSession,
    url: str,
    server: Server,
    append: Append,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 3)
    append("before\n")

    async with session.get(f"{url}?follow=true") as response:
        assert await next_line(response) == "before"
        with logs.opened_for_launch(server.pk, ["llama-server", "--port", "8080"]) as log:
            log.write(b"after\n")

        assert (await next_line(response)).endswith("Z: llama-server --port 8080 ---")
        assert await next_line(response) == "after"


async def test_who_comes_back_goes_on_after_the_last_event(
    session: aiohttp.ClientSession, url: str, append: Append
) -> None:
    append("a\nb\n")
    async with session.get(f"{url}?follow=1") as response:
        await next_event(response)
        seen = [await next_event(response) for _ in range(2)]
    append("c\n")

    headers = {"Last-Event-ID": seen[0]["id"]}
    async with session.get(f"{url}?follow=1", headers=headers) as response:
        lines = [await next_line(response) for _ in range(2)]

    assert [event["data"] for event in seen] == ["a", "b"]
    assert lines == ["b", "c"]


async def test_a_silent_stream_is_pinged(
    session: aiohttp.ClientSession, server: Server
) -> None:
    async with (
        serving(LogStream(poll_s=POLL_S, ping_seconds=0.02)) as address,
        session.get(f"{address}{PATH}?follow=1") as response,
    ):
        await response.content.readuntil(b"\n\n")
        for _ in range(2):
            assert await response.content.readuntil(b"\n\n") == b": ping\n\n"


async def test_nobody_reads_a_log_when_nobody_listens_any_more(
    session: aiohttp.ClientSession, url: str, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = logs.Follower.read

    def counted(follower: logs.Follower) -> list[logs.Line]:
        nonlocal reads
        reads += 1
        return read(follower)

    monkeypatch.setattr(logs.Follower, "read", counted)
    append("a\n")
    for _ in range(2):
        async with session.get(f"{url}?follow=1") as response:
            await next_line(response)
    await session.close()

    before = -1
    while before != reads:
        before = reads
        await asyncio.sleep(20 * POLL_S)
    assert reads > 0


@pytest.fixture
def asked_to_stop() -> Iterator[list[int]]:
    """Stand for what uvicorn does at SIGTERM; return the signals that it was told of."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, before)


async def test_the_end_of_the_process_is_the_end_of_the_streams(
    session: aiohttp.ClientSession,
    stream: LogStream,
    url: str,
    append: Append,
    asked_to_stop: list[int],
) -> None:
    append("a\n")
    stream.startup()
    async with session.get(f"{url}?follow=1") as response:
        await next_line(response)

        os.kill(os.getpid(), signal.SIGTERM)

        assert await response.content.read() == b""  # cut off, it would raise
    assert asked_to_stop == [signal.SIGTERM]


# -- who may


async def test_only_get_is_possible(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url) as response:
        assert (response.status, response.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("query", ["", "?follow=1"])
async def test_nobody_reads_the_logs_of_a_site_that_is_not_open(
    session: aiohttp.ClientSession, url: str, append: Append, settings: Settings, query: str
) -> None:
    settings.MAGI_HOST = "0.0.0.0"
    append("a\n")

    status, detail = await answer_of(session, url + query)

    assert status == 401
    assert "staff" in detail


async def test_the_site_dispatches_it_behind_the_guard(
    session: aiohttp.ClientSession, append: Append
) -> None:
    from magi_site.asgi import application, log_stream  # noqa: PLC0415 - reads settings

    append("a\n")
    async with serving(application) as address:
        async with session.get(f"{address}{PATH}?follow=1") as response:
            assert await next_line(response) == "a"
            log_stream.end()
            await response.content.read()
        async with session.get(address + PATH) as response:
            assert await response.text() == "a\n"
        foreign = {"Origin": "https://evil.example"}
        async with session.get(address + PATH, headers=foreign) as response:
            assert response.status == 403
