import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from servers_app.gateway.background import cancelled
from servers_app.gateway.breaker import FAILURES_IN_A_ROW, Breakers
from servers_app.gateway.hosts import Hosts
from servers_app.gateway.peers import MAX_PEERS, Peers, RedisChannel, hints
from servers_app.gateway.queueing import Queue
from tests.redis_server import PATIENCE_S, RedisServer
from tests.servers_app.gateway.conftest import make_replica


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.gateway.peers.TELL_INTERVAL_S", 0.01)
    monkeypatch.setattr("servers_app.gateway.peers.RECONNECT_PAUSE_S", 0.05)
    monkeypatch.setattr("servers_app.gateway.peers.HINT_PAUSE_S", 0.01)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.005)


class Written:
    """A channel that keeps what it is given."""

    def __init__(self) -> None:
        self.messages_told: list[bytes] = []

    async def publish(self, message: bytes) -> None:
        self.messages_told.append(message)

    async def messages(self) -> AsyncIterator[bytes | None]:
        yield None


class Process:
    """One gateway process, as far as its peers go."""

    def __init__(self, channel: RedisChannel | Written) -> None:
        self.own: Counter[int] = Counter()
        self.breakers = Breakers()
        self.now: float | None = None  # where the test turns the clock
        self.hosts, self.queue = Hosts(), Queue()
        self.peers = Peers(
            channel,
            self.own,
            self.breakers,
            hosts=self.hosts,
            queue=self.queue,
            clock=self._clock,
        )

    def sees(self, server_id: int) -> int:
        return self.peers.in_flight.get(server_id, 0)

    def _clock(self) -> float:
        return time.monotonic() if self.now is None else self.now

    def trip(self, server_id: int) -> None:
        for _ in range(FAILURES_IN_A_ROW):
            self.breakers.failed(server_id)


@asynccontextmanager
async def running(redis: RedisServer, count: int) -> AsyncIterator[list[Process]]:
    channels = [RedisChannel(redis.url, "magi:0:gateway") for _ in range(count)]
    processes = [Process(channel) for channel in channels]
    tasks = [asyncio.create_task(process.peers.run()) for process in processes]
    try:
        yield processes
    finally:
        for task in tasks:
            await cancelled(task)
        for channel in channels:
            await channel.close()


def told(process: str = "other", **more: object) -> bytes:
    return json.dumps({"process": process, "in_flight": {}, "open": {}, **more}).encode()


async def test_processes_know_each_others_requests(redis_server: RedisServer) -> None:
    async with running(redis_server, 3) as (a, b, c):
        a.own[1], b.own[1], b.own[2] = 2, 1, 5

        await until(lambda: all((one.sees(1), one.sees(2)) == (3, 5) for one in (a, b, c)))

        b.own.clear()
        await until(lambda: all((one.sees(1), one.sees(2)) == (2, 0) for one in (a, b, c)))


async def test_a_breaker_that_opens_in_one_process_is_open_in_all(
    redis_server: RedisServer,
) -> None:
    server = make_replica("u", server_id=7)
    async with running(redis_server, 2) as (a, b):
        a.own[1] = 1
        await until(lambda: b.sees(1) == 1)  # they hear each other

        a.trip(7)

        await until(lambda: not b.breakers.lets(server))
        assert b.breakers.states() == {}


async def test_own_requests_count_at_once() -> None:
    process = Process(Written())

    process.own[1] += 1

    assert (process.sees(1), dict(process.peers.in_flight)) == (1, {1: 1})


async def test_what_has_not_changed_is_told_once_in_a_second() -> None:
    channel = Written()
    process = Process(channel)
    for now in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
        process.now = now
        await process.peers.tell()

    assert len(channel.messages_told) == 2


async def test_a_change_is_told_at_the_next_turn() -> None:
    channel = Written()
    process = Process(channel)
    process.now = 0.0
    await process.peers.tell()

    process.own[4] = 1
    await process.peers.tell()
    process.trip(4)
    await process.peers.tell()

    messages = [json.loads(message) for message in channel.messages_told]
    assert [message["in_flight"] for message in messages] == [{}, {"4": 1}, {"4": 1}]
    assert [list(message["open"]) for message in messages] == [[], [], ["4"]]


async def test_a_process_does_not_count_itself_twice() -> None:
    channel = Written()
    process = Process(channel)
    process.own[1] = 2
    await process.peers.tell()

    process.peers.hear(channel.messages_told[0])

    assert process.sees(1) == 2


async def test_a_process_that_falls_silent_is_forgotten() -> None:
    process = Process(Written())
    process.now = 0.0
    server = make_replica("u", server_id=1)
    process.peers.hear(told(in_flight={"1": 3}, open={"1": [30.0, None]}))
    assert (process.sees(1), process.breakers.lets(server)) == (3, False)

    process.now = 1.9
    process.peers.forget_silent()
    assert process.sees(1) == 3
    process.now = 2.1
    process.peers.forget_silent()

    assert (process.sees(1), process.breakers.lets(server)) == (0, True)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xff", b"7", b"[]", b"{}", b"[" * 100_000,
        told(in_flight=[1]), told(in_flight={"x": 1}), told(in_flight={"1": None}),
        told(in_flight={"1": float("inf")}), told(open={"1": 3}), told(open={"1": [1, 2, 3]}),
        told(open={"1": ["soon", None]}), told(open={"1": [float("nan"), None]}),
        told(open={"1": [1e9, None]}), told(open={"1": [1, "now"]}),
    ],
)  # fmt: skip
def test_a_message_of_another_kind_is_ignored(message: bytes) -> None:
    process = Process(Written())
    process.peers.hear(told(in_flight={"1": 2}))

    process.peers.hear(message)

    assert dict(process.peers.in_flight) == {1: 2}
    assert process.breakers.lets(make_replica("u"))


def test_a_count_below_nothing_is_nothing() -> None:
    process = Process(Written())
    process.peers.hear(told(in_flight={"1": -5}))

    assert process.sees(1) == 0


def test_no_more_processes_are_heard_than_can_be() -> None:
    process = Process(Written())
    for number in range(MAX_PEERS + 10):
        process.peers.hear(told(str(number), in_flight={"1": 1}))

    assert process.sees(1) == MAX_PEERS


async def test_without_redis_own_requests_count_and_it_comes_back_by_itself(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="servers_app.gateway.peers")
    async with running(redis_server, 2) as (a, b):
        a.own[1] = 2
        await until(lambda: b.sees(1) == 2)

        redis_server.kill()
        await until(lambda: len(caplog.messages) >= 2)  # each process says it
        b.own[1] = 1
        await until(lambda: b.sees(1) == 1)
        a.own[1] = 4
        await asyncio.to_thread(redis_server.start)

        await until(lambda: b.sees(1) == 5)
        await until(lambda: sum("hear of each other's" in said and "again" in said
                                for said in caplog.messages) == 2)  # fmt: skip


async def test_who_is_to_end_ends_whatever_it_is_at(redis_server: RedisServer) -> None:
    """Where redis sends by `asyncio.wait_for`, some go on for ever."""
    for number in range(40):
        channel = RedisChannel(redis_server.url, "magi:0:gateway")
        process = Process(channel)
        task = asyncio.create_task(process.peers.run())
        for _ in range(1 + number % 5):
            process.own[1] += 1
            await asyncio.sleep(0.005 + number / 10_000)
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_S)

        assert task.cancelled()
        await channel.close()


async def test_that_redis_is_away_is_said_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()

    async with running(redis_server, 1):
        await until(lambda: bool(caplog.messages))
        await asyncio.sleep(0.3)  # some attempts more

    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("The gateway processes do not hear of each other's")


class Changes:
    """What `hints` calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self) -> None:
        self.calls += 1
        await self.goes_on.wait()


@asynccontextmanager
async def hinted(redis: RedisServer) -> AsyncIterator[tuple[RedisChannel, Changes]]:
    channel = RedisChannel(redis.url, "magi:0:events")
    changes = Changes()
    task = asyncio.create_task(hints(channel, changes))
    try:
        await until(lambda: changes.calls == 1)  # when it is open
        yield channel, changes
    finally:
        await cancelled(task)
        await channel.close()


def event(kind: object) -> bytes:
    return json.dumps({"kind": kind}).encode()


@pytest.mark.parametrize("kind", ["server", "model", "profile"])
async def test_a_change_is_passed_on(redis_server: RedisServer, kind: str) -> None:
    async with hinted(redis_server) as (channel, changes):
        await channel.publish(event(kind))

        await until(lambda: changes.calls == 2)


async def test_what_changes_no_table_is_not_passed_on(redis_server: RedisServer) -> None:
    async with hinted(redis_server) as (channel, changes):
        for message in (b"", b"7", b"\xff", b"{}", event("scan"), event("task"), event([1])):
            await channel.publish(message)
        changes.goes_on.clear()
        await channel.publish(event("server"))

        await until(lambda: changes.calls == 2)


async def test_many_changes_while_one_is_passed_on_are_one_more(
    redis_server: RedisServer,
) -> None:
    async with hinted(redis_server) as (channel, changes):
        changes.goes_on.clear()
        await channel.publish(event("server"))
        await until(lambda: changes.calls == 2)
        for _ in range(50):
            await channel.publish(event("server"))
        await asyncio.sleep(0.1)  # until they have come in

        changes.goes_on.set()

        await until(lambda: changes.calls == 3)
        await asyncio.sleep(0.1)
        assert changes.calls == 3


async def test_after_redis_was_away_a_change_is_supposed(redis_server: RedisServer) -> None:
    async with hinted(redis_server) as (_, changes):
        redis_server.kill()
        await asyncio.to_thread(redis_server.start)

        await until(lambda: changes.calls == 2)
