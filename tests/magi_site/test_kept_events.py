"""Reading the stream of Redis: what the tests of /api/events cannot show."""

import asyncio

import pytest

from magi_site import kept_events
from magi_site.kept_events import Page, is_before, is_id
from tests.redis_server import PATIENCE_S, RedisServer


async def read_on(redis_url: str) -> None:
    async with kept_events.kept_events(redis_url) as kept:
        async for _page in kept.follow(None):
            pass


async def test_who_is_to_end_ends_whatever_it_is_at(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where redis sends by `asyncio.wait_for`, one in ten goes on for ever."""
    monkeypatch.setattr(kept_events, "BLOCK_S", 0.001)
    for number in range(60):
        reader = asyncio.create_task(read_on(redis_server.url))
        await asyncio.sleep(0.01 + number / 10_000)
        reader.cancel()
        await asyncio.wait({reader}, timeout=PATIENCE_S)

        assert reader.cancelled()


async def test_a_redis_that_hangs_is_not_waited_for(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_events, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(kept_events, "BLOCK_S", 0.05)
    async with kept_events.kept_events(redis_server.url) as kept:
        pages = kept.follow(None)
        first, second = await anext(pages), await anext(pages)
        with redis_server.hanging(), pytest.raises(TimeoutError):
            await anext(pages)

    assert len(first.entries) == 1
    assert second == Page([], follows=True)


@pytest.mark.parametrize(
    ("one_id", "other_id"),
    [("1-1", "1-2"), ("9-5", "10-0"), ("1795286566101-0", "1795286566101-10")],
)
def test_ids_are_ordered_as_numbers(one_id: str, other_id: str) -> None:
    assert is_before(one_id, other_id)
    assert not is_before(other_id, one_id)
    assert not is_before(one_id, one_id)


def test_the_greatest_id_is_one_and_a_greater_is_none() -> None:
    assert is_id(f"{2**64 - 1}-{2**64 - 1}")
    assert not is_id(f"{2**64}-0")
    assert not is_id("1")
