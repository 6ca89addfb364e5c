"""Circuit breakers: a server that fails again and again is left alone for a while."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from servers_app.gateway.routes import Replica

FAILURES_IN_A_ROW: Final = 5
WINDOW: Final = 20  # requests
FAILURES_IN_WINDOW: Final = 10
FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0
PROBE_S: Final = 5.0  # a probe of which nothing is heard for so long is taken for lost


class State(StrEnum):
    """Whether a server gets requests.

    CLOSED -> OPEN -> HALF_OPEN -> CLOSED
    and HALF_OPEN -> OPEN, for twice as long as before.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerState(NamedTuple):
    state: State
    failures: int  # in a row
    until: float | None  # unix seconds, of the next request that it gets; None: it gets all


class Opened(NamedTuple):
    """An open breaker, as another process is told of it."""

    left_s: float
    ready_at: float | None  # of the server: a later one is another


class _Record:
    """What is known of a server that has failed."""

    __slots__ = (
        "backoff_s", "in_a_row", "is_cut_off", "outcomes", "ready_at", "state", "until"
    )  # fmt: skip

    def __init__(self, ready_at: float | None) -> None:
        self.ready_at = ready_at
        self.state = State.CLOSED
        self.in_a_row = 0
        self.outcomes: deque[bool] = deque(maxlen=WINDOW)  # True: it failed
        self.backoff_s = FIRST_BACKOFF_S
        self.until = float("-inf")  # the breakers' clock
        self.is_cut_off = False  # by the network, the last time that it failed

    def is_failing(self) -> bool:
        return self.in_a_row >= FAILURES_IN_A_ROW or sum(self.outcomes) >= FAILURES_IN_WINDOW


class Breakers:
    """The breakers of all servers. One of a server that has never failed costs nothing.

    A server that was started anew begins with a closed one. Those that other gateway
    processes have open count as open; each process closes its own.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[int, _Record] = {}
        self._ready_at: dict[int, float | None] = {}  # of the servers that had requests
        self._heard: dict[str, dict[int, tuple[float, float | None]]] = {}  # until, ready_at

    def lets(self, replica: Replica) -> bool:
        """Whether a server may be given a request."""
        if not self._records and not self._heard:
            return True
        return self.wait_s(replica) <= 0

    def wait_s(self, replica: Replica) -> float:
        """Return the seconds until a server is given a request again; 0 for now."""
        now = self._clock()
        record = self._record_of(replica)
        until = float("-inf")
        if record is not None and record.state != State.CLOSED:
            until = record.until
        for opened in self._heard.values():
            heard_until, ready_at = opened.get(replica.server_id, (until, replica.ready_at))
            if ready_at == replica.ready_at:
                until = max(until, heard_until)
        return max(until - now, 0.0)

    def take(self, replica: Replica) -> None:
        """Note that a server is given a request: the one that a half-open breaker lets."""
        self._ready_at[replica.server_id] = replica.ready_at
        record = self._record_of(replica)
        if record is not None and record.state != State.CLOSED:
            record.state = State.HALF_OPEN
            record.until = self._clock() + PROBE_S

    def won(self, server_id: int) -> None:
        """Note that a server answered. It closes the breaker that let the request probe."""
        record = self._records.get(server_id)
        if record is None or record.state == State.OPEN:
            return  # of a request from before it opened
        record.in_a_row = 0
        record.outcomes.append(False)
        if record.state == State.HALF_OPEN or not any(record.outcomes):
            del self._records[server_id]

    def failed(self, server_id: int) -> None:
        """Note that a server failed a request."""
        record = self._records.get(server_id)
        if record is None:
            record = self._records[server_id] = _Record(self._ready_at.get(server_id))
        if record.state == State.OPEN:
            return
        record.is_cut_off = False
        record.in_a_row += 1
        record.outcomes.append(True)
        if record.state == State.HALF_OPEN:
            record.backoff_s = min(2 * record.backoff_s, MAX_BACKOFF_S)
        elif not record.is_failing():
            return
        record.state = State.OPEN
        record.until = self._clock() + record.backoff_s

    def cut_off(self, server_id: int) -> None:
        """Note that a server's host is not there: that is no failure to be counted up to."""
        record = self._records.get(server_id)
        if record is None:
            record = self._records[server_id] = _Record(self._ready_at.get(server_id))
        record.is_cut_off = True
        if record.state == State.OPEN:
            return
        record.in_a_row += 1
        record.outcomes.append(True)
        if record.state == State.HALF_OPEN:
            record.backoff_s = min(2 * record.backoff_s, MAX_BACKOFF_S)
        record.state = State.OPEN
        record.until = self._clock() + record.backoff_s

    def is_cut_off(self, server_id: int) -> bool:
        """Whether a breaker is open because of the network, not of the server."""
        record = self._records.get(server_id)
        return record is not None and record.is_cut_off

    def back(self, server_ids: Iterable[int]) -> None:
        """Close the breakers of servers that are there again, if nothing else opened them."""
        for server_id in server_ids:
            if self.is_cut_off(server_id):
                del self._records[server_id]

    def states(self) -> dict[int, BreakerState]:
        """Return the servers that failed lately, by server id; any other is closed."""
        now, unix_now = self._clock(), time.time()
        return {
            server_id: BreakerState(
                record.state,
                record.in_a_row,
                None if record.state == State.CLOSED else unix_now + record.until - now,
            )
            for server_id, record in list(self._records.items())  # a thread of Django's asks
        }

    def opened(self) -> dict[int, Opened]:
        """Return what other processes are to be told of: own open breakers, by server id.

        Not those that the network opened: others may reach that host, and `Hosts` tells of it.
        """
        now = self._clock()
        return {
            server_id: Opened(record.until - now, record.ready_at)
            for server_id, record in self._records.items()
            if record.state == State.OPEN and record.until > now and not record.is_cut_off
        }

    def hear(self, process: str, opened: Mapping[int, Opened]) -> None:
        """Take the open breakers of another process, in place of what it had open before."""
        now = self._clock()
        if opened:
            self._heard[process] = {
                server_id: (now + left_s, ready_at)
                for server_id, (left_s, ready_at) in opened.items()
            }
        else:
            self._heard.pop(process, None)

    def forget(self, processes: Iterable[str]) -> None:
        for process in processes:
            self._heard.pop(process, None)

    def _record_of(self, replica: Replica) -> _Record | None:
        """Return a server's record, unless that is of one that has been started anew."""
        record = self._records.get(replica.server_id)
        if record is not None and record.ready_at != replica.ready_at:
            del self._records[replica.server_id]
            return None
        return record
