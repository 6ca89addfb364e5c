"""How often a key may call: in any minute, over all processes, as long as Redis is there.

Without Redis each process counts for itself: a key then has its limit once in each of them,
and nobody waits or is refused because a counter is away.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage as AsyncRedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import BlockingConnectionPool, RedisError
from redis.asyncio import BlockingConnectionPool as AsyncConnectionPool

TIMEOUT_S: Final = 0.5  # to connect, for each answer of Redis, and for a free connection
QUIET_S: Final = 5.0  # after a failure Redis is left alone
MAX_CONNECTIONS: Final = 20
_KEY_PREFIX: Final = "magi:rate"
_URL: Final = "redis://"  # says only which kind of storage it is: the pool knows where


class LocalCounts:
    """The calls of this process alone."""

    def __init__(self) -> None:
        self._window: MovingWindowRateLimiter | None = None  # it has a thread: made when used

    def hit(self, key_id: str, per_minute: int) -> float | None:
        """Count a call; return None, or in how many seconds the next one is let in."""
        if self._window is None:
            self._window = MovingWindowRateLimiter(MemoryStorage())
        item = _item(per_minute)
        if self._window.hit(item, key_id):
            return None
        return _seconds_until(self._window.get_window_stats(item, key_id).reset_time)


class Quiet:
    """Leaves a Redis alone for a while that has just failed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")

    def is_over(self) -> bool:
        return self._clock() >= self._until

    def begin(self) -> None:
        self._until = self._clock() + QUIET_S


class RateLimiter:
    """For threads. It raises nothing."""

    def __init__(self, redis_url: str) -> None:
        self._pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
        )
        self._window = MovingWindowRateLimiter(
            RedisStorage(_URL, connection_pool=self._pool, key_prefix=_KEY_PREFIX)
        )
        self._local = LocalCounts()
        self._quiet = Quiet()

    def hit(self, key_id: str, per_minute: int) -> float | None:
        """Count a call; return None, or in how many seconds the next one is let in."""
        if self._quiet.is_over():
            item = _item(per_minute)
            try:
                if self._window.hit(item, key_id):
                    return None
                return _seconds_until(self._window.get_window_stats(item, key_id).reset_time)
            except (RedisError, OSError):
                self._quiet.begin()
        return self._local.hit(key_id, per_minute)

    def close(self) -> None:
        self._pool.disconnect()


class AsyncRateLimiter:
    """For an event loop; to be closed in it. It raises nothing."""

    def __init__(
        self, redis_url: str | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take where Redis is; without it, this process counts for itself."""
        self._pool = None if redis_url is None else _async_pool(redis_url)
        self._window = None if self._pool is None else _async_window(self._pool)
        self._local = LocalCounts()
        self._quiet = Quiet(clock)

    async def hit(self, key_id: str, per_minute: int) -> float | None:
        """Count a call; return None, or in how many seconds the next one is let in."""
        if self._window is not None and self._quiet.is_over():
            item = _item(per_minute)
            try:
                if await self._window.hit(item, key_id):
                    return None
                stats = await self._window.get_window_stats(item, key_id)
                return _seconds_until(stats.reset_time)
            except (RedisError, OSError):
                self._quiet.begin()
        return self._local.hit(key_id, per_minute)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()


def _async_pool(redis_url: str) -> AsyncConnectionPool:
    return AsyncConnectionPool.from_url(
        redis_url,
        max_connections=MAX_CONNECTIONS,
        timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
    )


def _async_window(pool: AsyncConnectionPool) -> AsyncMovingWindow:
    options: dict[str, Any] = {"connection_pool": pool}  # its stubs know of no pool
    storage = AsyncRedisStorage(
        _URL, implementation="redispy", key_prefix=_KEY_PREFIX, **options
    )
    return AsyncMovingWindow(storage)


@lru_cache(maxsize=1024)
def _item(per_minute: int) -> RateLimitItem:
    return RateLimitItemPerMinute(per_minute, namespace="apikey")


def _seconds_until(at: float) -> float:
    return max(at - time.time(), 0.0)
