"""What gateway processes know of each other's lines, and of hosts that fell off the network."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from servers_app.gateway import queueing
from servers_app.gateway.background import cancelled
from servers_app.gateway.queueing import Queue, QueueFullError, Ticket
from servers_app.gateway.routes import Choice
from tests.redis_server import RedisServer
from tests.servers_app.gateway.conftest import LONG_S, make_replica, make_route
from tests.servers_app.gateway.test_peers import Process, Written, running, told, until

CHOICE = Choice(make_route("qwen"), make_replica("http://127.0.0.1:1"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.gateway.peers.TELL_INTERVAL_S", 0.01)


async def test_a_host_that_fell_off_in_one_process_is_away_in_all(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, 2) as (a, b):
        a.hosts.fell_off("http://10.0.0.9:8080")

        await until(lambda: b.hosts.is_away("http://10.0.0.9:8081"))
        assert b.hosts.away() == {}  # it is the other's to say when it is back

        a.hosts.is_back("10.0.0.9")

        await until(lambda: not b.hosts.is_away("http://10.0.0.9:8081"))


async def test_lines_are_as_long_as_in_all_processes_together(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, 2) as (a, b):
        waiting = [asyncio.create_task(_wait_in(a.queue)) for _ in range(3)]

        await until(lambda: b.queue.depth("qwen") == 3)
        with pytest.raises(QueueFullError, match="3 requests wait"):
            await _wait_in(b.queue, limit=3)

        for task in waiting:
            await cancelled(task)
        await until(lambda: b.queue.depth("qwen") == 0)


async def test_a_free_slot_goes_to_who_waits_longest_in_whichever_process(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "YIELD_MARGIN_S", 0.05)
    slots: list[int] = []
    served: list[str] = []

    def take() -> Choice | None:
        return CHOICE if slots and slots.pop() else None

    async def wait(name: str, queue: Queue) -> None:
        await _wait_in(queue, take, lambda: bool(slots))
        served.append(name)

    async with running(redis_server, 2) as (a, b):
        tasks = []
        for name, queue in (("first", a.queue), ("second", b.queue), ("third", a.queue)):
            tasks.append(asyncio.create_task(wait(name, queue)))
            await asyncio.sleep(0.2)
        await until(lambda: a.queue.depth("qwen") == b.queue.depth("qwen") == 3)
        for count in range(3):
            slots.append(1)
            b.queue.serve("qwen")  # whoever frees it would be the first to know
            await until(partial(_has_grown, served, count))
        await asyncio.gather(*tasks)

    assert served == ["first", "second", "third"]


async def test_a_slot_that_nobody_fetches_is_not_left_for_ever() -> None:
    process = Process(Written())
    process.peers.hear(told(queued={"qwen": [1, 100.0, 100.0]}))

    await _wait_in(process.queue)


async def test_what_is_no_line_and_no_host_is_ignored() -> None:
    process = Process(Written())
    for more in ({"queued": {"qwen": [0, 1, 1]}}, {"queued": 1}, {"away": {"x": 1e9}}):
        process.peers.hear(told(in_flight={"1": 1}, **more))

    assert process.sees(1) == 0


def _has_grown(served: list[str], count: int) -> bool:
    return len(served) > count


async def _wait_in(
    queue: Queue,
    take: Callable[[], Choice | None] | None = None,
    has_slot: Callable[[], bool] | None = None,
    *,
    limit: int = 64,
) -> None:
    """Wait for a slot; without `take`, one is free for who finds others before it."""
    free = take or (lambda: CHOICE if queue.elsewhere else None)
    ticket = Ticket("qwen", "", free, has_slot=has_slot or (lambda: True))
    await queue.wait(ticket, limit=limit, late_at=asyncio.get_running_loop().time() + LONG_S)
