"""The stream of Redis that keeps the newest events, read from any place that is still in it.

What follows in it on an entry that is there is complete: Redis drops the oldest first, or
all at once. So an entry that has gone says that something may be missing, and nothing
else has to be known of trimming, flushing or a Redis that was started anew.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from magi_site.event_log import Entry, frame
from models_app.events import FIELD, KINDS, LOST, stream

TIMEOUT_S = 5.0  # a Redis that is silent for so long has gone
BLOCK_S = 5.0  # after which it says that there is nothing
PAGE = 100  # entries; a few milliseconds of the loop
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class Page(NamedTuple):
    entries: list[Entry]
    follows: bool  # on what was read before; otherwise something may be missing between


class KeptEvents:
    """One connection's view of the stream."""

    def __init__(self, redis: Redis, redis_url: str) -> None:
        self._redis = redis
        self._key = stream(redis_url)

    async def follow(self, last: Entry | None) -> AsyncIterator[Page]:
        """Yield what is kept after an entry, and then what comes, for ever.

        The first page comes at once, if need be empty. Without an entry it is the newest.

        Raises:
            redis.RedisError, OSError: Redis cannot be reached, or has gone.
        """
        if last is None:
            last = await self._newest()
            yield Page([last], follows=True)
        while True:
            # With the last one itself: that it is still there shows that nothing is missing.
            # XREAD alone would go on after a gap without a word.
            found = await self._range(last.id, "+", PAGE + 1)
            if found and found[0] == last:
                page = Page(found[1:], follows=True)
            else:
                while not (found := await self._range("-", "+", PAGE + 1)):
                    await self._mark()
                page = Page(found, follows=False)
            yield page
            last = found[-1]
            if len(found) <= PAGE:
                async with asyncio.timeout(BLOCK_S + TIMEOUT_S):
                    await self._redis.xread(
                        {self._key: last.id}, count=1, block=int(BLOCK_S * 1000)
                    )

    async def between(self, first_id: str, end_id: str) -> list[Entry]:
        """Return the entries that are kept, from one up to another, without that."""
        entries: list[Entry] = []
        first = first_id
        while page := await self._range(first, f"({end_id}", PAGE):
            entries += page
            first = f"({page[-1].id}"
        return entries

    async def has(self, event_id: str) -> bool:
        return bool(await self._range(event_id, event_id, 1))

    async def _newest(self) -> Entry:
        async with asyncio.timeout(TIMEOUT_S):
            while not (found := await self._redis.xrevrange(self._key, count=1)):
                await self._mark()
        return _entry(found[0])

    async def _mark(self) -> None:
        """Put an entry there that is no event, to go on from where there is none."""
        async with asyncio.timeout(TIMEOUT_S):
            await self._redis.xadd(self._key, {FIELD: "{}"})

    async def _range(self, first: str, last: str, count: int) -> list[Entry]:
        async with asyncio.timeout(TIMEOUT_S):
            found = await self._redis.xrange(self._key, first, last, count)
        return [_entry(raw) for raw in found or ()]


@asynccontextmanager
async def kept_events(redis_url: str) -> AsyncIterator[KeptEvents]:
    """Give the stream, over a connection that is opened when need be, and closed in the end."""
    # No timeout of redis's own: it sends with `asyncio.wait_for`, which in Python 3.11
    # swallows a cancellation that comes when all is sent. Whoever was to end would not.
    async with Redis.from_url(
        redis_url, socket_timeout=None, retry=Retry(NoBackoff(), 0)
    ) as redis:
        yield KeptEvents(redis, redis_url)


def is_id(text: str) -> bool:
    """Whether Redis could have given it."""
    return _ID.fullmatch(text) is not None and max(_numbers(text)) < 2**64


def is_before(one_id: str, other_id: str) -> bool:
    return _numbers(one_id) < _numbers(other_id)


def _numbers(event_id: str) -> list[int]:
    """Return the time in milliseconds and the count in it, as ids are ordered."""
    return [int(number) for number in event_id.split("-")]


def _entry(raw: Any) -> Entry:
    id_, fields = cast("tuple[bytes, Mapping[bytes, bytes]]", raw)
    event_id = id_.decode()
    with suppress(ValueError, KeyError, TypeError, RecursionError):  # somebody else's
        event = json.loads(fields[FIELD.encode()])
        if event["kind"] in KINDS or event["kind"] == LOST:
            return Entry(event_id, frame(event["kind"], json.dumps(event), event_id))
    return Entry(event_id, b"")
