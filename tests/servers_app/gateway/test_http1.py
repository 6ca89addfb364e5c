"""What the gateway makes of a server that answers well, badly, or not at all."""

import asyncio

import pytest

from servers_app.gateway import http1
from servers_app.gateway.http1 import (
    BrokenAnswerError,
    NoAnswerError,
    NotConnectedError,
    NotHTTPError,
    SilenceError,
    Timeouts,
    WireError,
    origin_of,
    post_head,
)
from servers_app.gateway.pool import Pool
from tests.servers_app.gateway.conftest import PATIENCE_S, refused_url, until
from tests.servers_app.gateway.wire import (
    CHUNKED,
    HELLO,
    OK,
    Caller,
    always,
    ask,
    body_of,
    once,
    read_all,
    serving,
)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HELLO, id="content-length"),
        pytest.param(
            CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
            id="chunks, an extension and a trailer",
        ),
        pytest.param(OK + b"\r\nhello", id="until it closes"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, id="after 100"),
        pytest.param(b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + HELLO, id="after 103"),
    ],
)
async def test_a_body_is_read_however_its_end_is_told(answer: bytes, pool: Pool) -> None:
    async with serving(once(answer)) as server:
        connection = await ask(pool, server.url)
        assert (connection.status, await read_all(connection)) == (200, b"hello")
        assert b"link" not in dict(connection.headers)
        pool.release(connection)


async def test_an_answer_may_come_byte_by_byte(pool: Pool) -> None:
    async def dribble(caller: Caller) -> None:
        await caller.request()
        for at in range(len(HELLO)):
            await caller.say(HELLO[at : at + 1])
            await asyncio.sleep(0)

    async with serving(dribble) as server:
        assert await body_of(pool, server.url) == b"hello"


async def test_an_answer_without_a_body_has_an_end(pool: Pool) -> None:
    async with serving(always(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        assert await body_of(pool, server.url) == b""


async def test_nobody_listens(pool: Pool) -> None:
    with pytest.raises(NotConnectedError):
        await ask(pool, refused_url())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(b"", NoAnswerError, id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", NoAnswerError, id="half a head"),
        pytest.param(b"220 smtp.example ESMTP\r\n\r\n", NotHTTPError, id="another protocol"),
        pytest.param(b"\0\xff" * 50, NotHTTPError, id="garbage"),
        pytest.param(
            OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            NotHTTPError,
            id="two lengths",
        ),
        pytest.param(OK + b"Content-Length: +5\r\n\r\nhello", NotHTTPError, id="no number"),
        pytest.param(
            OK + b"Content-Length: 9" + b"9" * 40 + b"\r\n\r\n", NotHTTPError, id="huge"
        ),
        pytest.param(
            OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            NotHTTPError,
            id="a length and chunks",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: gzip\r\n\r\nhello", NotHTTPError, id="other encoding"
        ),
        pytest.param(OK + b"X-A: b\r\n c: d\r\n\r\n", NotHTTPError, id="a folded header"),
        pytest.param(OK + b"X-A: b\0c\r\n\r\n", NotHTTPError, id="NUL in a header"),
        pytest.param(OK + b"X A: b\r\n\r\n", NotHTTPError, id="a space in a name"),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            NotHTTPError,
            id="another protocol, politely",
        ),
        pytest.param(
            b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", NotHTTPError, id="status 999"
        ),
        pytest.param(OK + b"X: " + b"x" * 100_000, NotHTTPError, id="a header without end"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, NotHTTPError, id="100 without end"
        ),
    ],
)
async def test_what_is_no_answer_is_told_apart(
    answer: bytes, kind: type[WireError], pool: Pool
) -> None:
    async with serving(once(answer)) as server:
        with pytest.raises(kind):
            await asyncio.wait_for(ask(pool, server.url), PATIENCE_S)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"Content-Length: 9\r\n\r\nhello", id="shorter than announced"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n", id="no last chunk"),
        pytest.param(CHUNKED + b"5\r\nhello\r\nzz\r\n", id="no chunk"),
        pytest.param(
            CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"x" * 100_000,
            id="a trailer without end",
        ),
    ],
)
async def test_an_answer_that_breaks_gives_what_came_and_then_the_fault(
    answer: bytes, pool: Pool
) -> None:
    async with serving(once(answer)) as server:
        connection = await ask(pool, server.url)
        assert await connection.read() == b"hello"
        with pytest.raises(BrokenAnswerError):
            await asyncio.wait_for(connection.read(), PATIENCE_S)
        pool.release(connection)


async def test_a_server_that_never_answers_is_given_up_and_let_go() -> None:
    pool = Pool(Timeouts(first_byte_s=0.1))

    async def listen(caller: Caller) -> None:
        await caller.request()
        await caller.request()

    async with serving(listen) as server:
        with pytest.raises(SilenceError):
            await asyncio.wait_for(ask(pool, server.url), PATIENCE_S)
        await asyncio.wait_for(server.hung_up.wait(), PATIENCE_S)
    pool.close()


async def test_silence_between_pieces_counts_from_the_last_one() -> None:
    pool = Pool(Timeouts(idle_s=0.1))

    async def pause(caller: Caller) -> None:
        await caller.request()
        await caller.say(OK + b"Content-Length: 9\r\n\r\nhello")
        await caller.request()

    async with serving(pause) as server:
        connection = await ask(pool, server.url)
        assert await connection.read() == b"hello"
        with pytest.raises(SilenceError, match=r"0\.1 s"):
            await asyncio.wait_for(connection.read(), PATIENCE_S)
        pool.release(connection)
    pool.close()


async def test_a_caller_that_is_cancelled_lets_the_server_go(pool: Pool) -> None:
    is_asked = asyncio.Event()

    async def listen(caller: Caller) -> None:
        await caller.request()
        is_asked.set()
        await caller.request()

    async with serving(listen) as server:
        asking = asyncio.create_task(ask(pool, server.url))
        await asyncio.wait_for(is_asked.wait(), PATIENCE_S)
        asking.cancel()

        await asyncio.wait_for(server.hung_up.wait(), PATIENCE_S)
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_server_waits_for_a_client_that_reads_slowly(pool: Pool) -> None:
    said = 0

    async def flood(caller: Caller) -> None:
        nonlocal said
        await caller.request()
        await caller.say(OK + b"\r\n")
        while True:
            await caller.say(b"x" * 2**16)
            said += 2**16

    async with serving(flood) as server:
        connection = await ask(pool, server.url)
        before = -1
        while said != before:  # until the buffers between the two are full
            before = said
            await asyncio.sleep(0.1)
        held = len(await connection.read())
        assert held < http1.HIGH_WATER_BYTES + 2**18  # and one read of the loop

        await until(lambda: said > before)
        pool.release(connection)


async def test_a_large_body_arrives_whole(pool: Pool) -> None:
    arrived: list[bytes] = []

    async def listen(caller: Caller) -> None:
        arrived.append(await caller.request())
        await caller.say(HELLO)

    body = bytes(range(256)) * 2**14
    async with serving(listen) as server:
        connection = await ask(pool, server.url, body)
        assert await read_all(connection) == b"hello"
        pool.release(connection)

    assert arrived == [body]


async def test_a_server_may_refuse_a_body_that_it_has_not_heard_out(pool: Pool) -> None:
    async def refuse(caller: Caller) -> None:
        await caller.reader.readuntil(b"\r\n\r\n")
        await caller.say(b"HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nlarge")
        await asyncio.sleep(PATIENCE_S)

    async with serving(refuse) as server:
        connection = await asyncio.wait_for(ask(pool, server.url, b"x" * 2**25), PATIENCE_S)
        assert (connection.status, await connection.read()) == (413, b"large")
        assert not connection.is_reusable
        pool.release(connection)


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        pytest.param("/a b", b"x", b"1", id="a space in the target"),
        pytest.param("/a\r\nX: 1", b"x", b"1", id="a line end in the target"),
        pytest.param("/a", b"x", b"1\r\ny: 2", id="a line end in a value"),
        pytest.param("/a", b"x", b"1\ny: 2", id="a bare LF"),
        pytest.param("/a", b"x", b"1\ry: 2", id="a bare CR"),
        pytest.param("/a", b"x", b"1\0", id="NUL"),
        pytest.param("/a", b"x: 1\r\ny", b"2", id="a line end in a name"),
        pytest.param("/a", b"content-length ", b"2", id="a space after a name"),
        pytest.param("/a", b"", b"2", id="no name"),
    ],
)
def test_no_request_holds_a_line_that_we_did_not_write(
    target: str, name: bytes, value: bytes
) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        post_head("http://127.0.0.1:8080", target, [(name, value)], 0)


def test_a_head_has_our_host_and_length() -> None:
    head = post_head("http://[::1]:8080", "/v1/x?a=b", [(b"x", b"\xc3\xa9")], 7)

    assert head == (
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: [::1]:8080\r\n"
        b"x: \xc3\xa9\r\ncontent-length: 7\r\n\r\n"
    )


@pytest.mark.parametrize("url", ["https://a:1", "a:1", "http://", "http://a:1/b"])
def test_only_plain_http_origins_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="not http://host:port"):
        origin_of(url)
