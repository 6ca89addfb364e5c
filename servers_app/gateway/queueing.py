"""The requests that wait for a free slot: a line for each model, fair between keys.

Each gateway process has lines of its own, and hears how many wait elsewhere and for how long.
The limit is over all of them, and a slot is left to the process whose first one waits longest.

QueueFullError and QueueTimeoutError are GatewayErrors.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from servers_app.gateway.errors import GatewayError
from servers_app.gateway.routes import Choice

POLL_S: Final = 0.05  # for slots that other processes free; what is freed here is told
FIRST_GUESS_S: Final = 5.0  # of how long a model takes for a request, until one is over
MAX_RETRY_AFTER_S: Final = 300  # so much later, it looks different anyway
YIELD_S: Final = 0.6  # that a free slot is left to others: they hear of it and take it in less
YIELD_MARGIN_S: Final = 0.3  # who waits so little longer has no claim: ages are told as often
_WEIGHT: Final = 0.2  # of the newest service time in the average


class QueueFullError(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "queue_full"

    def __init__(self, model: str, limit: int, retry_after: int) -> None:
        super().__init__(
            f"The queue of the model '{model}' is full: {limit} requests wait. "
            f"Try again in {retry_after} seconds.",
            param="model",
            retry_after=retry_after,
        )


class QueueTimeoutError(GatewayError):
    status = 503
    code = "queue_timeout"

    def __init__(self, model: str, retry_after: int) -> None:
        super().__init__(
            f"The model '{model}' was busy for too long. Try again in {retry_after} seconds.",
            param="model",
            retry_after=retry_after,
        )


class ShuttingDownError(GatewayError):
    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The gateway is shutting down. Try again soon.", retry_after=2)


class Elsewhere(NamedTuple):
    """Who waits for a model in another process. Times are of this machine's monotonic clock."""

    waiting: int
    oldest_at: float
    newest_at: float

    def before(self, at: float) -> int:
        """Return how many have waited since before a time, as if they came evenly."""
        if at <= self.oldest_at:
            return 0
        if at >= self.newest_at:
            return self.waiting
        share = (at - self.oldest_at) / (self.newest_at - self.oldest_at)
        return math.ceil(share * self.waiting)


def _no_matter() -> bool:
    return True


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that waits for a slot.

    Attributes:
        take: claims a slot and tells of which server; None if none is free.
            It raises a GatewayError if no server is there for the request any more.
        is_choosy: not every free slot of the model suits it.
        is_back: it has had its turn before, and is neither refused nor sent to the end.
        has_slot: whether `take` would find a slot. Asked where others may be first.
    """

    model_id: str
    key: str  # whose request it is
    take: Callable[[], Choice | None]
    slots: int = 1  # of the model's servers together
    is_choosy: bool = False
    is_back: bool = False
    has_slot: Callable[[], bool] = _no_matter
    since: float = field(default_factory=time.monotonic)
    # An error is a result, too: nobody might be left to retrieve an exception.
    turn: asyncio.Future[Choice | Exception | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Line:
    """The tickets for one model: the keys take turns, each with its oldest ticket."""

    def __init__(self) -> None:
        self._by_key: dict[str, deque[Ticket]] = {}  # in the order of their turns

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def __iter__(self) -> Iterator[Ticket]:
        """Yield the tickets in the order in which they are served if no other comes."""
        for place in range(max(map(len, self._by_key.values()), default=0)):
            for tickets in self._by_key.values():
                if place < len(tickets):
                    yield tickets[place]

    def add(self, ticket: Ticket) -> None:
        tickets = self._by_key.setdefault(ticket.key, deque())
        if ticket.is_back:
            tickets.appendleft(ticket)
        else:
            tickets.append(ticket)

    def remove(self, ticket: Ticket) -> bool:
        """Take a ticket out; tell whether it was in."""
        tickets = self._by_key.get(ticket.key)
        if tickets is None or ticket not in tickets:
            return False
        tickets.remove(ticket)
        if not tickets:
            del self._by_key[ticket.key]
        return True

    def end_turn(self, key: str) -> None:
        """Let all other keys have their turns before this one."""
        if key in self._by_key:
            self._by_key[key] = self._by_key.pop(key)


class Queue:
    """The lines of all models. Used in one event loop.

    Whoever frees a slot calls `serve`, which gives it away before anybody else can take
    it: `Ticket.take` claims it. A request that finds nobody in line need not come here.

    Attributes:
        elsewhere: who waits in other processes, by model id; its owner keeps it current.
        on_yield: called when a slot is left to another process, which is to hear of it soon.
    """

    def __init__(self) -> None:
        self.elsewhere: Mapping[str, Sequence[Elsewhere]] = {}
        self.on_yield: Callable[[], None] = _nobody
        self._yielding: dict[str, float] = {}  # since when, by model id
        self._lines: dict[str, Line] = {}  # none of them empty
        self._depths: dict[str, int] = {}
        self._service_s: dict[str, float] = {}
        self._poll: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def depths(self) -> Mapping[str, int]:
        """How many requests wait here, by model id. It stays current."""
        return self._depths

    def depth(self, model_id: str) -> int:
        """Return how many requests wait for a model in all processes."""
        there = sum(line.waiting for line in self.elsewhere.get(model_id, ()))
        return self._depths.get(model_id, 0) + there

    def waiting(self) -> dict[str, tuple[int, float, float]]:
        """Return for each model how many wait here, and for how many seconds the oldest and
        the newest have.
        """
        now = time.monotonic()
        told = {}
        for model_id, line in self._lines.items():
            ages = [now - ticket.since for ticket in line]
            told[model_id] = (len(ages), max(ages), min(ages))
        return told

    async def wait(self, ticket: Ticket, *, limit: int, late_at: float) -> Choice | None:
        """Wait for a slot, and return whose it is; it has been claimed.

        Args:
            limit: as many may wait for the model; the next one is refused.
            late_at: by the loop's clock.

        Returns:
            None when no server is left to wait for, so another model may have to do.

        Raises:
            QueueFullError: too many wait already.
            QueueTimeoutError: there was none in time.
            ShuttingDownError: the gateway is being closed.
        """
        self._join(ticket, limit)
        loop = asyncio.get_running_loop()
        alarm = loop.call_at(late_at, self._give_up, ticket)
        try:
            self.serve(ticket.model_id)
            if not ticket.turn.done() and loop.time() >= late_at:
                self._give_up(ticket)
            turn = await ticket.turn
        finally:
            alarm.cancel()
            self._leave(ticket)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def serve(self, model_id: str) -> None:
        """Give the free slots of a model to those whose turn it is."""
        while self._serve_one(model_id):
            pass

    def before(self, ticket: Ticket) -> int:
        """Return how many will be served before a ticket if no other comes."""
        there = self.elsewhere.get(ticket.model_id, ())
        for place, other in enumerate(self._lines.get(ticket.model_id, ())):
            if other is ticket:
                return place + sum(line.before(ticket.since) for line in there)
        return 0

    def observe(self, model_id: str, service_s: float) -> None:
        """Note how long a request of a model had its slot."""
        average_s = self._service_s.get(model_id, service_s)
        self._service_s[model_id] = average_s + _WEIGHT * (service_s - average_s)

    def retry_after(self, model_id: str, slots: int) -> int:
        """Return in how many seconds, at least 1, all that wait now have been served."""
        rounds = (self.depth(model_id) + 1) / max(slots, 1)
        wait_s = rounds * self._service_s.get(model_id, FIRST_GUESS_S)
        return max(1, min(math.ceil(wait_s), MAX_RETRY_AFTER_S))

    def close(self) -> None:
        """Send everybody away, and let nobody in."""
        self._is_closed = True
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        for line in list(self._lines.values()):
            for ticket in list(line):
                self._call(ticket, ShuttingDownError())

    def _join(self, ticket: Ticket, limit: int) -> None:
        if self._is_closed:
            raise ShuttingDownError
        model_id = ticket.model_id
        if not ticket.is_back and self.depth(model_id) >= limit:
            raise QueueFullError(model_id, limit, self.retry_after(model_id, ticket.slots))
        self._lines.setdefault(model_id, Line()).add(ticket)
        self._depths[model_id] = self._depths.get(model_id, 0) + 1
        if self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(POLL_S, self._serve_all)

    def _leave(self, ticket: Ticket) -> None:
        """Take a ticket out of its line, if it is in one still."""
        line = self._lines.get(ticket.model_id)
        if line is None or not line.remove(ticket):
            return
        self._depths[ticket.model_id] -= 1
        if not self._depths[ticket.model_id]:
            del self._depths[ticket.model_id], self._lines[ticket.model_id]

    def _call(self, ticket: Ticket, turn: Choice | Exception | None) -> None:
        self._leave(ticket)
        if not ticket.turn.done():
            ticket.turn.set_result(turn)

    def _serve_one(self, model_id: str) -> bool:
        """Let the first one go that can; tell whether there was one."""
        for ticket in self._lines.get(model_id, ()):
            if self._yields(ticket):
                break
            if self._has_gone(ticket):
                return True
            if not ticket.is_choosy:
                break  # nothing is free at all
        return False

    def _yields(self, ticket: Ticket) -> bool:
        """Whether a slot is left to another process, where somebody has waited for longer."""
        there = self.elsewhere.get(ticket.model_id)
        since = ticket.since - YIELD_MARGIN_S
        if not there or all(line.oldest_at >= since for line in there):
            self._yielding.pop(ticket.model_id, None)
            return False
        if not ticket.has_slot():
            self._yielding.pop(ticket.model_id, None)
            return False  # there is nothing to be left
        now = time.monotonic()
        if ticket.model_id not in self._yielding:
            self._yielding[ticket.model_id] = now
            self.on_yield()
        return now - self._yielding[ticket.model_id] < YIELD_S

    def _has_gone(self, ticket: Ticket) -> bool:
        if ticket.turn.done():  # its client has just left
            self._leave(ticket)
            return True
        line = self._lines[ticket.model_id]
        try:
            choice = ticket.take()
        except GatewayError:
            self._call(ticket, None)
        except Exception as fault:
            self._call(ticket, fault)
        else:
            if choice is None:
                return False
            self._call(ticket, choice)
            line.end_turn(ticket.key)
        return True

    def _serve_all(self) -> None:
        self._poll = None
        for model_id in list(self._lines):
            self.serve(model_id)
        if self._lines:
            self._poll = asyncio.get_running_loop().call_later(POLL_S, self._serve_all)

    def _give_up(self, ticket: Ticket) -> None:
        self._leave(ticket)
        retry_after = self.retry_after(ticket.model_id, ticket.slots)
        self._call(ticket, QueueTimeoutError(ticket.model_id, retry_after))


def _nobody() -> None:
    pass
