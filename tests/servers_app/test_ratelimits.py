"""How often a key may call: over all processes by Redis, and in each without it."""

import asyncio
import threading

from servers_app.ratelimits import QUIET_S, AsyncRateLimiter, LocalCounts, RateLimiter
from tests.redis_server import RedisServer

NOWHERE = "redis://127.0.0.1:1/0"  # nobody listens there


def test_the_call_after_the_last_one_waits_for_the_first_to_be_a_minute_old() -> None:
    counts = LocalCounts()

    assert [counts.hit("a", 2) for _ in range(2)] == [None, None]
    wait_s = counts.hit("a", 2)

    assert wait_s is not None
    assert 0 < wait_s <= 60
    assert counts.hit("b", 2) is None


def test_threads_and_the_gateways_loop_count_together(redis_server: RedisServer) -> None:
    views, others = RateLimiter(redis_server.url), RateLimiter(redis_server.url)

    async def hit() -> float | None:
        gateway = AsyncRateLimiter(redis_server.url)
        try:
            return await gateway.hit("a", 3)
        finally:
            await gateway.close()

    waits = [views.hit("a", 3), asyncio.run(hit()), others.hit("a", 3)]
    refused = [views.hit("a", 3), asyncio.run(hit()), others.hit("a", 3)]

    assert waits == [None, None, None]
    assert all(wait_s is not None and 0 < wait_s <= 60 for wait_s in refused)
    for limiter in (views, others):
        limiter.close()


def test_of_many_calls_at_once_as_many_are_let_in_as_may(redis_server: RedisServer) -> None:
    limiter = RateLimiter(redis_server.url)
    let_in: list[bool] = []

    def call() -> None:
        let_in.extend(limiter.hit("a", 20) is None for _ in range(10))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(let_in) == 20
    limiter.close()


async def test_without_redis_each_process_counts_for_itself() -> None:
    views, gateway = RateLimiter(NOWHERE), AsyncRateLimiter(NOWHERE)

    assert [views.hit("a", 1), await gateway.hit("a", 1)] == [None, None]
    assert None not in [views.hit("a", 1), await gateway.hit("a", 1)]
    await gateway.close()
    views.close()


async def test_a_redis_that_has_failed_is_left_alone_for_a_while(
    redis_server: RedisServer,
) -> None:
    now = 1000.0
    gateway = AsyncRateLimiter(redis_server.url, clock=lambda: now)
    assert await gateway.hit("a", 1) is None
    redis_server.kill()

    assert await gateway.hit("a", 1) is None  # the first that this process counted itself
    assert await gateway.hit("a", 1) is not None
    redis_server.start()
    assert await gateway.hit("b", 1) is None
    assert await gateway.hit("b", 1) is not None  # counted here

    now += QUIET_S
    assert await gateway.hit("b", 1) is None  # Redis has not heard of it
    await gateway.close()


async def test_a_gateway_without_a_redis_counts_too() -> None:
    gateway = AsyncRateLimiter()

    assert await gateway.hit("a", 1) is None
    assert await gateway.hit("a", 1) is not None
    await gateway.close()
