"""Which connections take another request."""

import asyncio

import pytest

from servers_app.gateway.http1 import NoAnswerError
from servers_app.gateway.pool import Pool
from tests.servers_app.gateway.conftest import PATIENCE_S
from tests.servers_app.gateway.wire import HELLO, OK, Caller, always, ask, body_of, serving


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_one_connection_takes_one_request_after_another(host: str, pool: Pool) -> None:
    async with serving(always(HELLO), host) as server:
        assert [await body_of(pool, server.url) for _ in range(3)] == [b"hello"] * 3

        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", id="close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", id="HTTP/1.0"),
        pytest.param(HELLO + b"more", id="longer than announced"),
        pytest.param(HELLO + HELLO, id="two answers to one request"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_with_another_request_is_cut(
    answer: bytes, pool: Pool
) -> None:
    async with serving(always(answer)) as server:
        assert [await body_of(pool, server.url) for _ in range(2)] == [b"hello"] * 2

        assert server.connections == 2


async def test_what_an_idle_connection_says_is_nobodys_answer(pool: Pool) -> None:
    evil = OK + b"Content-Length: 4\r\n\r\nevil"

    async def speak_unasked(caller: Caller) -> None:
        await caller.request()
        await caller.say(HELLO)
        await caller.say(evil)
        await caller.request()

    async with serving(speak_unasked) as server:
        assert await body_of(pool, server.url) == b"hello"
        await asyncio.wait_for(server.hung_up.wait(), PATIENCE_S)

        assert await body_of(pool, server.url) == b"hello"


async def test_an_idle_connection_is_closed_before_the_server_would(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.gateway.pool.KEEPALIVE_S", 0.0)
    async with serving(always(HELLO)) as server:
        assert [await body_of(pool, server.url) for _ in range(2)] == [b"hello"] * 2

        assert server.connections == 2


async def test_a_kept_connection_that_closes_on_the_request_is_replaced(pool: Pool) -> None:
    async def close_at_second(caller: Caller) -> None:
        await caller.request()
        await caller.say(HELLO)
        await caller.request()

    async with serving(close_at_second) as server:
        assert [await body_of(pool, server.url) for _ in range(3)] == [b"hello"] * 3

        assert server.connections == 3


async def test_a_kept_connection_that_began_to_answer_is_not_replaced(pool: Pool) -> None:
    async def break_second(caller: Caller) -> None:
        await caller.request()
        await caller.say(HELLO)
        await caller.request()
        await caller.say(b"HTTP/1.1 2")

    async with serving(break_second) as server:
        await body_of(pool, server.url)
        with pytest.raises(NoAnswerError):
            await ask(pool, server.url)

        assert server.connections == 1
