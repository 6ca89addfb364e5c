"""The slots of servers under any order of events: none taken twice, none lost."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers_app.gateway import queueing
from servers_app.gateway.background import cancelled
from servers_app.gateway.control import NO_CONTROL
from servers_app.gateway.errors import NotReachedError
from servers_app.gateway.live import LiveTable
from servers_app.gateway.queueing import QueueFullError
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.trace import Trace
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Finder
from servers_app.gateway.wishes import Wish
from tests.servers_app.gateway.conftest import LONG_S, make_replica, make_route

SLOTS = 2  # of each of two servers
LIMIT = 6
KEYS = "abc"


def two_servers() -> RoutingTable:
    replicas = [
        replace(make_replica("http://127.0.0.1:1", server_id=number), slots=SLOTS)
        for number in (1, 2)
    ]
    return RoutingTable(
        {"qwen": make_route("qwen", *replicas)},
        profile="test",
        queue_limit=LIMIT,
        queue_wait_seconds=LONG_S,
    )


@dataclass
class Gate:
    """Requests that hold their slots until they are told what comes of them."""

    finder: Finder
    most: Counter[int] = field(default_factory=Counter)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    working: list[asyncio.Future[bool]] = field(default_factory=list)
    new: int = 0  # requests that wait for whichever server

    @property
    def in_flight(self) -> Counter[int]:
        return self.finder.usage.in_flight

    def ask(self, key: str) -> None:
        self.tasks.append(asyncio.create_task(self._request(key)))

    async def _request(self, key: str) -> None:
        search = self.finder.search(Wish("qwen"), Trace("request", "/", key=key))
        self.new += 1
        try:
            choice = await search.first()
        except QueueFullError:
            return
        finally:
            self.new -= 1
        while True:
            server_id = choice.replica.server_id
            with self.finder.usage.relaying(server_id):
                self.most[server_id] = max(self.most[server_id], self.in_flight[server_id])
                end = asyncio.get_running_loop().create_future()
                self.working.append(end)
                try:
                    is_answered = await end
                finally:
                    self.working.remove(end)
            if is_answered:
                return
            failure = NotReachedError("qwen", "was not reached", was_sent=True)
            try:
                choice = await search.another(server_id, failure)
            except NotReachedError:
                return


@contextmanager
def nobody_looks_for_free_slots() -> Iterator[None]:
    """Turn the poll off, that would cover up a slot which nobody was told of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queueing, "POLL_S", LONG_S)
        yield


async def make_gate() -> Gate:
    async def load() -> RoutingTable:
        return two_servers()

    tables = LiveTable(load)
    await tables.refresh()

    async def note_nothing(_server_ids: object) -> None:
        pass

    return Gate(Finder(tables, Usage(note_nothing), NO_CONTROL))


EVENTS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, len(KEYS) - 1)),
    st.tuples(st.sampled_from(["answer", "fail", "leave"]), st.integers(0, 20)),
    st.tuples(st.just("pass"), st.integers(1, 4)),  # so many rounds of the event loop
)


async def play(events: list[tuple[str, int]]) -> None:
    gate = await make_gate()
    for event, number in events:
        working = [end for end in gate.working if not end.done()]
        alive = [task for task in gate.tasks if not task.done()]
        if event == "ask":
            gate.ask(KEYS[number])
        elif event == "leave" and alive:
            alive[number % len(alive)].cancel()
        elif event in ("answer", "fail") and working:
            working[number % len(working)].set_result(event == "answer")
        elif event == "pass":
            for _ in range(number):
                await asyncio.sleep(0)
        assert all(taken <= SLOTS for taken in gate.in_flight.values())

    await rest()
    assert not gate.new or gate.in_flight == {1: SLOTS, 2: SLOTS}
    while not all(task.done() for task in gate.tasks):
        assert gate.working, "somebody waits, and nobody holds a slot"
        gate.working[0].set_result(True)
        await rest()
    await asyncio.gather(*gate.tasks, return_exceptions=True)
    assert all(taken <= SLOTS for taken in gate.most.values())
    assert gate.in_flight == {}
    assert gate.finder.queue.depths == {}
    await gate.finder.close()


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=60))
def test_no_slot_is_taken_twice_and_nobody_is_forgotten(events: list[tuple[str, int]]) -> None:
    with nobody_looks_for_free_slots():
        asyncio.run(play(events))


async def test_a_slot_goes_on_when_its_turn_comes_as_the_client_leaves() -> None:
    with nobody_looks_for_free_slots():
        gate = await make_gate()
        for key in "aaaabc":
            gate.ask(key)
        await rest()

        gate.working[0].set_result(True)
        await asyncio.sleep(0)  # it has ended, and the slot is given to the next
        gate.tasks[4].cancel()
        await rest()

        assert gate.tasks[4].cancelled()
        assert len(gate.working) == 4
        assert gate.finder.queue.depths == {}
        for task in gate.tasks:
            await cancelled(task)
        assert gate.in_flight == {}
