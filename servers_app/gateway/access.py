"""Who calls the gateway, and whether they may: by keys that are in memory.

The keys come with the routing table, so no request waits for the database, and one that
brings no key to an open gateway waits for nothing at all.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn, Protocol

from servers_app.gateway.asgi import Exchange, Header
from servers_app.gateway.background import Complaints
from servers_app.gateway.control import NoteKeys
from servers_app.gateway.errors import AuthenticationError, RateLimitedError, ScopeError
from servers_app.ratelimits import AsyncRateLimiter

logger = logging.getLogger(__name__)

READ: Final = "read"
INFER: Final = "infer"
KEY_START: Final = b"magi_"
NOTE_INTERVAL_S: Final = 60.0  # when a key was last used is known to the minute
MAX_ID_CHARS: Final = 100  # as the request log's column holds
WRITE_INTERVAL_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 5.0
_BEARER: Final = b"bearer "


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as the gateway knows it. One that is revoked it does not know."""

    id: str  # what its secret begins with
    name: str
    scopes: frozenset[str]
    model_ids: frozenset[str] = frozenset()  # none: it may use all
    expires_at: float | None = None  # unix seconds
    rate_limit_per_minute: int | None = None


Keys = Mapping[str, Key]  # by the SHA-256 of their secrets, in hex


class Caller(NamedTuple):
    """Who calls: as the request log has it, and as turns in a queue go by it."""

    id: str
    model_ids: frozenset[str] = frozenset()  # none: all
    key: Key | None = None


def user_id(username: str) -> str:
    """Return the id of a caller who is signed in."""
    return f"user {username}"[:MAX_ID_CHARS]


class Limiter(Protocol):
    """Counts the calls of a key in a minute."""

    async def hit(self, key_id: str, per_minute: int) -> float | None:
        """Count one; return None, or in how many seconds the next one is let in."""

    async def close(self) -> None: ...


# Tells who is signed in, by the cookies of a request: None for nobody. Raises GatewayError.
BySession = Callable[[Exchange], Awaitable[Caller | None]]


def everybody() -> bool:
    return True


async def _nobody(_exchange: Exchange) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """By what the gateway lets callers in; by default, everybody.

    Attributes:
        is_open: whether callers need no key. It is asked for each request.
        open_limiter: called in the gateway's loop.
    """

    is_open: Callable[[], bool] = everybody
    by_session: BySession = _nobody
    open_limiter: Callable[[], Limiter] = AsyncRateLimiter


EVERYBODY: Final = Rules()


class Door:
    """Lets callers in, and writes down which keys were used."""

    def __init__(
        self,
        rules: Rules,
        keys: Callable[[], Keys],
        note_keys: NoteKeys,
        *,
        refresh: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what callers are held against.

        Args:
            keys: gives those that are known now.
            refresh: has them read again, unless that was done just now: a key may be new.
            clock: unix seconds.
        """
        self._rules = rules
        self._keys = keys
        self._refresh = refresh
        self._clock = clock
        self._limiter: Limiter | None = None
        self._uses = KeyUses(note_keys)

    def open(self) -> None:
        """Make ready, in the loop in which callers come."""
        self._limiter = self._rules.open_limiter()

    async def keep_noted(self) -> NoReturn:
        await self._uses.keep_noted()

    async def close(self) -> None:
        await self._uses.close()
        if self._limiter is not None:
            await self._limiter.close()

    def glance(self, exchange: Exchange) -> Caller | None:
        """Return who calls, if it needs no look at keys or cookies."""
        given = presented(exchange.headers)
        if (given is None or not given.startswith(KEY_START)) and self._rules.is_open():
            # What is no key of ours is one that the client cannot be without.
            return Caller(exchange.address)
        return None

    async def admit(self, exchange: Exchange) -> Caller:
        """Return who calls, where `glance` did not know.

        Raises:
            AuthenticationError: there is no key, or none that is good.
            GatewayError: somebody is signed in who may not do this.
        """
        given = presented(exchange.headers)
        if given is not None:
            return await self._by_key(given)
        caller = await self._rules.by_session(exchange)
        if caller is None:
            raise AuthenticationError.missing()
        return caller

    async def spend(self, caller: Caller, *scopes: str) -> None:
        """Count a call, if it is by a key that may make it.

        Args:
            scopes: any of them will do.

        Raises:
            ScopeError: it has none of them.
            RateLimitedError: there were too many in the last minute.
        """
        key = caller.key
        if key is None:
            return
        if key.scopes.isdisjoint(scopes):
            raise ScopeError(key.name, scopes)
        per_minute = key.rate_limit_per_minute
        if per_minute is not None and self._limiter is not None:
            wait_s = await self._limiter.hit(key.id, per_minute)
            if wait_s is not None:
                raise RateLimitedError(key.name, per_minute, max(1, math.ceil(wait_s)))

    async def _by_key(self, given: bytes) -> Caller:
        key = None
        if given.startswith(KEY_START):
            # What is looked up is a hash, and nobody can choose what a hash begins with: how
            # long it takes to find none says nothing about those that are there.
            digest = hashlib.sha256(given).hexdigest()
            key = self._keys().get(digest)
            if key is None:
                await self._refresh()
                key = self._keys().get(digest)
        if key is None:
            raise AuthenticationError.unknown()
        now = self._clock()
        if key.expires_at is not None and key.expires_at <= now:
            raise AuthenticationError.expired(key.name)
        self._uses.note(key.id, now)
        return Caller(key.id, key.model_ids, key)


@dataclass(slots=True)
class KeyUses:
    """When keys were last used: written down beside the requests, of each once a minute."""

    write: NoteKeys
    _told: dict[str, float] = field(default_factory=dict)  # unix seconds, by id
    _untold: dict[str, float] = field(default_factory=dict)
    _has_some: asyncio.Event = field(default_factory=asyncio.Event)
    _complaints: Complaints = field(
        default_factory=lambda: Complaints(
            logger,
            failing="When keys were last used could not be written down.",
            working="When keys were last used is written down again.",
        )
    )

    def note(self, key_id: str, now: float) -> None:
        # Either way: a clock that was set back is no reason to say nothing for as long.
        if abs(now - self._told.get(key_id, -math.inf)) >= NOTE_INTERVAL_S:
            self._told[key_id] = self._untold[key_id] = now
            self._has_some.set()

    async def keep_noted(self) -> NoReturn:
        """Write down what there is, about once a second. Ends when cancelled."""
        while True:
            await self._has_some.wait()
            await asyncio.sleep(WRITE_INTERVAL_S)
            await self._write()

    async def close(self) -> None:
        """Write down what is left. Raises nothing. To be called when `keep_noted` has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._write()

    async def _write(self) -> None:
        used, self._untold = self._untold, {}
        self._has_some.clear()
        if used:
            with self._complaints:
                await self.write(used)


def presented(headers: Iterable[Header]) -> bytes | None:
    """Return the key that a request brings, as OpenAI's clients or Anthropic's do.

    One that is ours goes before one that is not. No key: None.
    """
    other = None
    for name, value in headers:
        if name == b"authorization":
            if value[: len(_BEARER)].lower() != _BEARER:
                continue
            given = value[len(_BEARER) :].strip()
        elif name == b"x-api-key":
            given = value.strip()
        else:
            continue
        if given.startswith(KEY_START):
            return given
        other = other or given or None
    return other
