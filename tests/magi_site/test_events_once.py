"""Whatever happens meanwhile: each event once and in order, or a `lost` where it is missing."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magi_site import event_hub, kept_events
from magi_site.event_hub import EventHub
from magi_site.events import EventStream
from servers_app.gateway import asgi
from tests.magi_site.listening import PATIENCE_S, Client, Happening, numbers_of, until
from tests.redis_server import RedisServer

WHOLE = 1_000  # a list that nothing falls out of
VISITORS = st.integers(0, 1)
PUBLISH = st.tuples(st.just("publish"), st.integers(1, 6))
WAIT = st.tuples(st.just("wait"), st.integers(1, 15))
PROCESSES = st.integers(0, 1)
MISSING = st.one_of(st.just(0), st.integers(0, 400))  # characters
COME_OR_GO = st.tuples(st.just("come_or_go"), VISITORS, PROCESSES, MISSING)
COME_BACK = st.tuples(st.just("come_back"), VISITORS, PROCESSES, MISSING)
STEPS = st.one_of(
    *(PUBLISH, WAIT, COME_OR_GO, COME_BACK) * 2,  # more often than what follows
    st.tuples(st.just("stall_or_read"), VISITORS),
    st.tuples(st.just("trim"), st.integers(0, 8)),
    st.tuples(st.just("flush")),
    st.tuples(st.just("cut")),
)


class Visitor:
    """Somebody who comes and goes, and keeps what was seen."""

    def __init__(self, happening: Happening) -> None:
        self.happening = happening
        self.client: Client | None = None
        self.last_event_id: str | None = None
        self.begun_at = 0
        self.seen: list[int | None] = []

    async def come(self, stream: EventStream) -> Client:
        if self.client is not None:
            return self.client
        client = await self._called(stream)
        while client.status != 200:  # Redis could not be asked: it is tried again
            await client.until_ended()
            client = await self._called(stream)
        self.client = client
        if self.last_event_id is None:
            self.begun_at, self.seen = self.happening.count, []
        return client

    async def leave(self, missing: int) -> None:
        """Go; of what was sent, the last characters do not arrive."""
        if self.client is None:
            return
        await self.client.leave()
        text = self.client.text
        text = text[: len(text) - missing]
        text = text[: text.rfind("\n\n") + 2] if "\n\n" in text else ""
        ids = [line for line in text.split("\n") if line.startswith("id: ")]
        if ids:
            self.last_event_id = ids[-1].removeprefix("id: ")
        self.seen += numbers_of(text)
        self.client = None

    def has_seen_each_once_or_lost(self) -> bool:
        numbers = [number for number in self.seen if number is not None]
        if numbers != sorted(set(numbers)):
            return False
        before, is_lost = self.begun_at, False
        for number in self.seen:
            if number is None:
                is_lost = True
            elif number > self.begun_at:
                if number != before + 1 and not is_lost:
                    return False
                before, is_lost = number, False
        return before == self.happening.count

    async def _called(self, stream: EventStream) -> Client:
        known = {} if self.last_event_id is None else {"last_event_id": self.last_event_id}
        client = Client()
        client.call(stream, **known)
        await until(lambda: client.status is not None)
        return client


class Scene:
    """Two web processes, two visitors, one Redis. Its methods are the steps."""

    def __init__(self, happening: Happening, max_logged: int) -> None:
        self.happening = happening
        self.streams = [
            EventStream(EventHub(max_logged=max_logged, pause_s=0.001)) for _ in range(2)
        ]
        self.visitors = [Visitor(happening) for _ in range(2)]

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        for visitor in self.visitors:
            await visitor.come(self.streams[0])
        for name, *arguments in steps:
            await getattr(self, name)(*arguments)
        for number, visitor in enumerate(self.visitors):
            client = await visitor.come(self.streams[number % 2])
            client.reads.set()
        async with asyncio.timeout(PATIENCE_S):
            while not await self._have_seen_the_newest():
                pass  # it fell out of a list of two at once: that was `lost`
        for visitor in self.visitors:
            await visitor.leave(0)
        for stream in self.streams:
            await stream.shutdown()

    async def _have_seen_the_newest(self) -> bool:
        self.happening.publish()
        clients = [visitor.client for visitor in self.visitors if visitor.client is not None]
        for _ in range(100):
            if all(client.has_got(self.happening.count) for client in clients):
                return True
            await asyncio.sleep(0.01)
        return False

    async def publish(self, count: int) -> None:
        self.happening.publish(count)

    async def come_or_go(self, number: int, process: int, missing: int) -> None:
        visitor = self.visitors[number]
        if visitor.client is None:
            await visitor.come(self.streams[process])
        else:
            await visitor.leave(missing)

    async def come_back(self, number: int, process: int, missing: int) -> None:
        await self.visitors[number].leave(missing)
        await self.visitors[number].come(self.streams[process])

    async def stall_or_read(self, number: int) -> None:
        client = self.visitors[number].client
        if client is not None and client.reads.is_set():
            client.reads.clear()
        elif client is not None:
            client.reads.set()

    async def wait(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def trim(self, count: int) -> None:
        self.happening.trim(count)

    async def flush(self) -> None:
        self.happening.redis.flushall()
        await asyncio.sleep(0.002)  # ids are milliseconds: none of the old ones comes again

    async def cut(self) -> None:
        self.happening.cut()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything small that a place can be at the edge of."""
    monkeypatch.setattr(kept_events, "PAGE", 3)
    monkeypatch.setattr(event_hub, "MAX_TAKEN", 2)
    monkeypatch.setattr(asgi, "WATCH_AFTER_S", 0.0)


@given(
    steps=st.lists(STEPS, min_size=15, max_size=50), max_logged=st.sampled_from([2, 8, WHOLE])
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_each_event_comes_once_or_lost_is_said(
    redis_server: RedisServer, small: None, steps: list[tuple[Any, ...]], max_logged: int
) -> None:
    happening = Happening(redis_server.url)
    happening.redis.flushall()
    scene = Scene(happening, max_logged)

    asyncio.run(scene.play(steps))

    happening.close()
    for visitor in scene.visitors:
        assert visitor.has_seen_each_once_or_lost(), visitor.seen
    if max_logged == WHOLE and {"trim", "flush"}.isdisjoint(step[0] for step in steps):
        assert all(None not in visitor.seen for visitor in scene.visitors)
