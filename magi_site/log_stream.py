"""GET /api/models/servers/{model_id}/logs: a server's log, its end or as it is written.

    ?lines=200     the last so many, 1 to 10,000
    ?follow=1      as server-sent events, a line each, for as long as the client listens
    ?replica=0     which of several servers of the model

An event's id is a place in the log: a browser that comes back goes on from there, unless
the log was turned over meanwhile. An ASGI application, as magi_site/events.py is.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from rest_framework.exceptions import APIException, NotFound, ParseError

from magi_site.events import (
    HEADERS,
    PING,
    PING_SECONDS,
    RETRY_MS,
    on_stop_signal,
)
from magi_site.stream_access import Pass, let_in
from profiles_app.models import MAX_REPLICAS
from servers_app import logs
from servers_app.gateway.asgi import ClientWatch, Exchange, Receive, Scope, Send
from servers_app.gateway.errors import ClientGoneError
from servers_app.lookup import find_model, find_server, is_here, never_started, unknown
from servers_app.models import Server

PATH: Final = re.compile(r"/api/models/servers/(.+)/logs")
DEFAULT_LINES: Final = 200
MAX_LINES: Final = 10_000
MAX_TOLD_CHARS: Final = 40  # of what was asked for, in a refusal
BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a call asks for."""

    model_id: str
    lines: int
    follow: bool
    replica: int


class LogStream:
    """The ASGI application. `startup()` and `end()` run in the loop that serves it."""

    def __init__(
        self, *, poll_s: float = logs.POLL_S, ping_seconds: float = PING_SECONDS
    ) -> None:
        self._poll_s = poll_s
        self._ping_seconds = ping_seconds
        self._ends: set[asyncio.Event] = set()  # one for each who follows

    @staticmethod
    def is_at(path: str) -> bool:
        return PATH.fullmatch(path) is not None

    def startup(self) -> None:
        on_stop_signal(self.end)

    def end(self) -> None:
        """End every stream."""
        for end in self._ends:
            end.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        entry = await let_in(exchange)
        if entry is None:
            return
        try:
            wish = _wish(exchange)
            server_id = await sync_to_async(_find)(wish.model_id, wish.replica)
            if wish.follow:
                with ClientWatch(receive):
                    await self._stream(exchange, entry, server_id, wish.lines)
            else:
                await _answer(exchange, server_id, wish.lines)
        except APIException as error:
            await exchange.answer(error.status_code, {"detail": str(error.detail)})
        except ClientGoneError:
            pass  # that is how a stream ends
        except OSError as error:
            if exchange.started:
                raise
            await exchange.answer(503, {"detail": f"The log cannot be read: {error}."})

    async def _stream(
        self, exchange: Exchange, entry: Pass, server_id: int, lines: int
    ) -> None:
        came_from = (exchange.header(b"last-event-id") or b"").decode("latin-1")
        follower = logs.Follower(server_id, lines=lines, position=came_from)
        end = asyncio.Event()
        self._ends.add(end)
        try:
            found = await asyncio.to_thread(follower.read)
            await exchange.start(200, HEADERS)
            await exchange.write(b"retry: %d\n\n" % RETRY_MS)
            clock = asyncio.get_running_loop().time
            written_at = clock()
            while not end.is_set():
                if found or clock() - written_at >= self._ping_seconds:
                    if not await entry.holds():
                        break
                    # Whoever reads slowly is waited for here; the log waits on the disk.
                    await exchange.write(b"".join(map(_event, found)) or PING)
                    written_at = clock()
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._poll_s):
                            await end.wait()
                found = await asyncio.to_thread(follower.read)
            await exchange.end()
        finally:
            self._ends.discard(end)


async def _answer(exchange: Exchange, server_id: int, lines: int) -> None:
    text = await asyncio.to_thread(logs.tail, server_id, lines)
    body = f"{text}\n".encode() if text else b""
    await exchange.start(
        200,
        [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ],
    )
    await exchange.end(body)


def _event(line: logs.Line) -> bytes:
    return f"id: {line.position}\ndata: {line.text}\n\n".encode()


def _wish(exchange: Exchange) -> Wish:
    """Return what is asked for.

    Raises:
        ParseError: it cannot be had; the message names what can.
    """
    given = dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))
    follow = given.get("follow", "false")
    if follow.lower() not in BOOLEANS:
        msg = f"follow={follow[:MAX_TOLD_CHARS]} is not 1 (or true) or 0 (or false)."
        raise ParseError(msg)
    return Wish(
        model_id=PATH.sub(r"\1", exchange.path),
        lines=_number("lines", given.get("lines", str(DEFAULT_LINES)), 1, MAX_LINES),
        follow=BOOLEANS[follow.lower()],
        replica=_number("replica", given.get("replica", "0"), 0, MAX_REPLICAS - 1),
    )


def _number(name: str, raw: str, low: int, high: int) -> int:
    if raw.isdecimal() and raw.isascii() and len(raw) <= 9 and low <= int(raw) <= high:
        return int(raw)
    msg = f"{name}={raw[:MAX_TOLD_CHARS]} is not a number from {low} to {high}."
    raise ParseError(msg)


def _find(model_id: str, replica: int) -> int:
    """Return the number of the server whose log it is.

    Raises:
        NotFound: there is none, or it is on another machine; the message says what is.
    """
    close_old_connections()
    try:
        model = find_model(model_id)
        if model is None:
            raise NotFound(unknown(model_id))
        server = find_server(model, replica)
        if server is None:
            replicas = Server.objects.filter(model=model).values_list("replica", flat=True)
            there = ", ".join(map(str, sorted(set(replicas))))
            detail = never_started(model, replica)
            raise NotFound(f"{detail} Its replicas are: {there}." if there else detail)
    finally:
        close_old_connections()
    if not is_here(server) and not logs.log_path(server.pk).exists():
        detail = (
            f"The log of {model_id} is on node {server.node}: "
            f"servers/{server.pk}/server.log in its MAGI_DATA_DIR."
        )
        raise NotFound(detail)
    return server.pk
