"""Requests that wait for a free slot: whose turn it is, and how long they wait."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from servers_app.gateway import queueing
from servers_app.gateway.errors import ModelNotReadyError
from servers_app.gateway.queueing import (
    Queue,
    QueueFullError,
    QueueTimeoutError,
    ShuttingDownError,
    Ticket,
)
from servers_app.gateway.routes import Choice
from tests.servers_app.gateway.conftest import LONG_S, make_replica, make_route, until

CHOICE = Choice(make_route("qwen"), make_replica("http://127.0.0.1:1"))


class Desk:
    """A model with some slots, of which none is free at first."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.free = 0
        self.served: list[str] = []
        self.waiting: list[asyncio.Task[Choice | None]] = []

    def take(self) -> Choice | None:
        if not self.free:
            return None
        self.free -= 1
        return CHOICE

    def enqueue(
        self,
        name: str,
        key: str = "",
        *,
        limit: int = 64,
        wait_s: float = LONG_S,
        is_choosy: bool = False,
        is_back: bool = False,
        take: Callable[[], Choice | None] | None = None,
    ) -> asyncio.Task[Choice | None]:
        async def wait() -> Choice | None:
            ticket = Ticket(
                "qwen", key, take or self.take, is_choosy=is_choosy, is_back=is_back
            )
            late_at = asyncio.get_running_loop().time() + wait_s
            choice = await self.queue.wait(ticket, limit=limit, late_at=late_at)
            if choice is not None:
                self.served.append(name)
            return choice

        self.waiting.append(asyncio.create_task(wait()))
        return self.waiting[-1]

    async def enqueue_all(self, *names: str) -> None:
        """Have requests wait whose key is the first letter of their name."""
        for name in names:
            self.enqueue(name, name[0])
        await until(lambda: self.queue.depths.get("qwen") == len(names))

    async def release(self, slots: int = 1) -> None:
        for _ in range(slots):
            self.free += 1
            self.queue.serve("qwen")
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A desk whose queue hears of every free slot, and need not look for any."""
    monkeypatch.setattr(queueing, "POLL_S", LONG_S)
    one = Desk()
    yield one
    one.queue.close()
    await asyncio.gather(*one.waiting, return_exceptions=True)


async def test_a_free_slot_goes_to_the_next_one_and_to_nobody_else(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2", "a3")

    await desk.release()

    assert desk.served == ["a1"]
    assert desk.queue.depths == {"qwen": 2}


async def test_the_keys_take_turns_and_each_is_served_in_its_own_order(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2", "a3", "b1", "b2", "c1")

    await desk.release(6)

    assert desk.served == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert desk.queue.depths == {}


async def test_a_key_that_was_just_served_lets_all_others_go_first(desk: Desk) -> None:
    await desk.enqueue_all("a1", "b1", "b2")
    await desk.release()
    desk.enqueue("a2", "a")
    await settle()

    await desk.release(3)

    assert desk.served == ["a1", "b1", "a2", "b2"]


async def test_one_that_is_back_goes_before_the_others_of_its_key(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2")
    desk.enqueue("again", "a", limit=2, is_back=True)
    await settle()

    await desk.release()

    assert desk.served == ["again"]


async def test_a_request_is_told_how_many_go_before_it(desk: Desk) -> None:
    tickets = [Ticket("qwen", key, desk.take) for key in "aaabbc"]
    for ticket in tickets:
        waiting = desk.queue.wait(ticket, limit=9, late_at=float("inf"))
        desk.waiting.append(asyncio.create_task(waiting))
    await settle()

    assert [desk.queue.before(ticket) for ticket in tickets] == [0, 3, 5, 1, 4, 2]


async def test_what_a_free_slot_does_not_suit_is_passed_over(desk: Desk) -> None:
    desk.enqueue("choosy", "a", is_choosy=True, take=lambda: None)
    desk.enqueue("easy", "b")
    await settle()

    await desk.release()

    assert desk.served == ["easy"]


async def test_one_more_than_the_limit_is_refused(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2")
    for seconds in (10.0, 10.0):
        desk.queue.observe("qwen", seconds)

    with pytest.raises(QueueFullError) as refused:
        await desk.enqueue("b1", "b", limit=2)

    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert refused.value.retry_after == 30


@pytest.mark.parametrize(
    ("service_s", "slots", "expected"),
    [
        pytest.param([0.001], 4, 1, id="never less than one second"),
        pytest.param([10.0], 1, 40, id="one slot: one after the other"),
        pytest.param([10.0], 4, 10, id="four slots: all at once"),
        pytest.param([10.0, 20.0], 1, 48, id="the newest counts a fifth"),
        pytest.param([9999.0], 1, 300, id="never more than five minutes"),
        pytest.param([], 1, 20, id="a guess until one is over"),
    ],
)
async def test_when_to_try_again_follows_from_the_depth_the_slots_and_the_service_time(
    service_s: list[float], slots: int, expected: int, desk: Desk
) -> None:
    await desk.enqueue_all("a1", "a2", "a3")
    for seconds in service_s:
        desk.queue.observe("qwen", seconds)

    assert desk.queue.retry_after("qwen", slots) == expected


async def test_who_waits_too_long_is_told_when_to_try_again(desk: Desk) -> None:
    with pytest.raises(QueueTimeoutError) as late:
        await desk.enqueue("a1", wait_s=0.01)

    assert (late.value.status, late.value.code) == (503, "queue_timeout")
    assert late.value.headers() == [(b"retry-after", b"5")]
    assert desk.queue.depths == {}


async def test_who_must_not_wait_still_gets_what_is_free(desk: Desk) -> None:
    desk.free = 1

    assert await desk.enqueue("a1", wait_s=0) == CHOICE
    with pytest.raises(QueueTimeoutError):
        await desk.enqueue("a2", wait_s=0)


async def test_who_leaves_makes_room_at_once_and_gets_no_slot(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2")

    desk.waiting[0].cancel()
    await settle()
    left = dict(desk.queue.depths)
    await desk.release()

    assert left == {"qwen": 1}
    assert desk.served == ["a2"]


async def test_a_slot_is_not_given_to_one_that_is_just_leaving(desk: Desk) -> None:
    await desk.enqueue_all("a1", "a2")

    desk.waiting[0].cancel()
    desk.free += 1
    desk.queue.serve("qwen")  # before the one that leaves knows of it
    await settle()

    assert desk.served == ["a2"]


async def test_who_has_no_server_left_is_sent_to_look_for_another(desk: Desk) -> None:
    gone = ModelNotReadyError("qwen", "stopped")

    def take() -> Choice | None:
        raise gone

    assert await desk.enqueue("a1", take=take) is None


async def test_a_fault_is_that_of_the_request_which_it_happened_to(desk: Desk) -> None:
    surprise = KeyError("surprise")

    def take() -> Choice | None:
        if not desk.free:
            return None
        raise surprise

    broken = desk.enqueue("a1", "a", take=take)
    desk.enqueue("b1", "b")
    await settle()

    await desk.release()

    assert desk.served == ["b1"]
    with pytest.raises(KeyError, match="surprise"):
        await broken


async def test_a_slot_that_another_process_frees_is_noticed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "POLL_S", 0.01)
    await desk.enqueue_all("a1", "a2")

    desk.free = 1
    await until(lambda: desk.served == ["a1"])
    desk.free = 1
    await until(lambda: desk.served == ["a1", "a2"])


async def test_all_that_wait_are_sent_away_at_the_end_and_nobody_is_let_in(desk: Desk) -> None:
    await desk.enqueue_all("a1", "b1")

    desk.queue.close()
    desk.enqueue("late")
    ends = await asyncio.gather(*desk.waiting, return_exceptions=True)

    assert [type(end) for end in ends] == [ShuttingDownError] * 3
    assert desk.queue.depths == {}
