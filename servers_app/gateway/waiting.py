"""A request's search for a server: it has one started, waits while it loads, and for a slot."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from servers_app.gateway.background import Complaints, SharedCalls
from servers_app.gateway.balancing import has_slot
from servers_app.gateway.choosing import Balancer
from servers_app.gateway.comments import Early, commented
from servers_app.gateway.control import Control
from servers_app.gateway.errors import (
    CircuitOpenError,
    ModelLoadingError,
    NoRouteError,
    NotReachedError,
    UnreachableError,
)
from servers_app.gateway.live import LiveTable, Tables
from servers_app.gateway.queueing import Queue, ShuttingDownError, Ticket
from servers_app.gateway.routes import FAILED, READY, STARTING, UNREACHABLE, Choice
from servers_app.gateway.trace import Trace
from servers_app.gateway.usage import Usage
from servers_app.gateway.wishes import Wish

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1
DEMAND_TIMEOUT_S: Final = 5.0  # the demand goes on, and so does the wait


class Finder:
    """What the searches of all requests share.

    Attributes:
        queue: who waits for a slot. Its `depth` is what a balancer takes as `queued`.
    """

    def __init__(
        self,
        tables: LiveTable,
        usage: Usage,
        control: Control,
        *,
        balancer: Balancer | None = None,
        in_flight: Mapping[int, int] | None = None,
    ) -> None:
        """Take what else decides on a server.

        Args:
            in_flight: requests by server id over all processes, in which those of
                `usage` show at once; without, there is no other process.
        """
        self.tables = tables
        self.usage = usage
        self.queue = Queue()
        self.balancer = balancer or Balancer(queued=self.queue.depth)
        self.in_flight = usage.in_flight if in_flight is None else in_flight
        self.is_closed = False
        self._model_ids: dict[int, str] = {}  # of each server that has had a request
        self._demands = SharedCalls(
            control.demand,
            Complaints(
                logger,
                failing="A server could not be asked for.",
                working="Servers can be asked for again.",
            ),
        )
        self._looks = SharedCalls(
            control.look_at,
            Complaints(
                logger,
                failing="Nobody could be sent to look at a lost server.",
                working="Lost servers are looked at again.",
            ),
        )
        usage.on_free = self._freed

    def search(
        self,
        wish: Wish,
        trace: Trace,
        answer: Early | None = None,
        *,
        tables: Tables | None = None,
    ) -> "Search":
        """Begin a search.

        Args:
            tables: as who asks may see them; by default, whole.
            trace: whose turn it is goes by its key. It is told how long the search waited.
            answer: gets a comment now and then while the search waits.
        """
        return Search(wish, self, trace, answer, tables or self.tables)

    def claim(self, choice: Choice) -> bool:
        """Take a slot of a server, if it has one left; without knowing how many, it has."""
        route, replica = choice.route, choice.replica
        if replica.slots and self.in_flight.get(replica.server_id, 0) >= replica.slots:
            return False
        self._model_ids[replica.server_id] = route.model_id
        self.usage.claim(replica.server_id)
        # Not before: a probe that is left to those who wait would keep them from it.
        self.balancer.breakers.take(replica)
        return True

    async def demand(self, server_id: int) -> None:
        """Have a server wanted, together with whoever else waits for it. Raises nothing."""
        await asyncio.wait({self._demands.start(server_id)}, timeout=DEMAND_TIMEOUT_S)

    def lose(self, server_id: int) -> None:
        """Have somebody look after a server that a connection failed to."""
        self._looks.start(server_id)

    async def close(self) -> None:
        """Send those who wait away."""
        self.is_closed = True
        self.queue.close()
        await self._demands.close()
        await self._looks.close()

    def _freed(self, server_id: int, worked_s: float | None) -> None:
        model_id = self._model_ids.get(server_id)
        if model_id is not None:
            if worked_s is not None:
                self.queue.observe(model_id, worked_s)
            self.queue.serve(model_id)


class Search:
    """One request's search for a server that takes it.

    It waits for `queue_wait_seconds` of the profile in all. A model that fails to load
    while it waits ends it. A slot of the server that it returns has been claimed: enter
    `usage.relaying` next, with no await between.
    """

    def __init__(
        self,
        wish: Wish,
        finder: Finder,
        trace: Trace,
        answer: Early | None,
        tables: Tables,
    ) -> None:
        self._wish = wish
        self._finder = finder
        self._tables = tables
        self._trace = trace
        self._answer = answer
        self._tried: set[int] = set()  # server ids, since it last waited
        self._asked: set[int] = set()
        self._failure: NotReachedError | None = None  # of the last one that was tried
        self._is_harmless = True  # no server broke on the request
        self._is_table_fresh = False
        self._is_admitted = False  # it had a slot, or a place in the queue
        self._claimed: int | None = None  # a server id
        self._late_at: float | None = None  # the loop's clock
        self._ticket: Ticket | None = None  # while it is queued
        self._awaited: Choice | None = None  # while that loads

    async def first(self) -> Choice:
        """Return a server that has a slot free; at once if there is one.

        Raises:
            ModelNotFoundError: no enabled model has that name.
            ModelLoadingError: none was ready in time.
            ModelNotReadyError: none is ready, and none will be.
            RoutesUnknownError: no routing table could be read so far.
            QueueFullError: too many wait for it already.
            QueueTimeoutError: it was ready, and busy for all the time.
            ShuttingDownError: the gateway is being closed.
        """
        return await self._find()

    async def another(self, server_id: int, failure: NotReachedError) -> Choice:
        """Return a server for a request that `server_id` did not answer.

        If nothing was sent, that may be the same one, when it is there again.

        Raises: as `first`, and
            NotReachedError: `failure`, when nobody else is there in time.
        """
        self._tried.add(server_id)
        self._failure = failure
        self._is_harmless &= not failure.was_sent
        return await self._find()

    def state(self) -> str:
        """Return what it waits for, in a few words."""
        if self._ticket is not None:
            return f"queued, {self._finder.queue.before(self._ticket)} before you"
        if self._awaited is not None:
            model_id = self._awaited.route.model_id
            progress = self._awaited.replica.progress
            percent = "" if progress is None else f" {100 * progress:.0f} %"
            return f"loading {model_id}{percent} ({self._trace.elapsed_s():.0f} s)"
        return "waiting"

    async def _find(self) -> Choice:
        try:
            choice = self._choose()
            if not self._takes(choice):
                choice = await self._wait_commenting()
        except NoRouteError:
            choice = await self._wait_commenting()
        self._claimed = None  # that is the caller's from here on
        return choice

    async def _wait_commenting(self) -> Choice:
        began_s = self._trace.elapsed_s()
        try:
            async with commented(self._answer, self.state):
                return await self._wait()
        except BaseException:
            # The turn may have come in the moment in which the client left.
            if self._claimed is not None:
                self._finder.usage.unclaim(self._claimed)
                self._claimed = None
            raise
        finally:
            self._trace.queued_s += self._trace.elapsed_s() - began_s

    async def _wait(self) -> Choice:
        while True:
            try:
                choice = self._choose()
            except NoRouteError as error:
                await self._await_ready(error)
                continue
            if self._takes(choice):
                return choice
            queued = await self._queue(choice)
            if queued is not None:
                return queued
            await self._pause()

    async def _await_ready(self, error: NoRouteError) -> None:
        """Give a server the time to become ready.

        Raises:
            NotReachedError: that with which the last server failed: no other is there.
            NoRouteError: `error`: nothing is worth waiting for.
            ModelLoadingError: the time is up.
        """
        is_tripped = isinstance(error, CircuitOpenError | UnreachableError)
        if self._failure is not None and (self._tried or is_tripped):
            if not self._is_harmless or self._is_late():
                raise self._failure from None
            if not (self._failure.is_cut_off and self._comes_elsewhere()):
                self._tried.clear()
                await self._pause()
                return
        if not self._is_table_fresh:
            self._is_table_fresh = True
            await self._tables.refresh_if_old()
            return
        awaited = self._finder.balancer.awaited(
            self._tables.current, self._wish, self._finder.in_flight
        )
        if awaited is None and isinstance(error, UnreachableError) and not self._is_late():
            await self._pause()  # it may be back, or be started elsewhere, at any moment
            return
        if awaited is None or self._has_failed(awaited):
            raise error
        self._awaited = awaited
        try:
            with self._finder.usage.waiting(awaited.replica.server_id):
                await self._await(awaited)
        finally:
            self._awaited = None

    async def _await(self, awaited: Choice) -> None:
        """Ask for a server if need be, and read the table once more.

        Raises:
            ModelLoadingError: the time is up.
        """
        is_late = self._is_late()  # or the clock starts now
        server_id = awaited.replica.server_id
        is_asked = server_id in self._asked
        if not is_asked or awaited.replica.state != STARTING:
            self._asked.add(server_id)
            await self._finder.demand(server_id)
        if not is_asked:
            await self._tables.refresh_from_now()  # it was not loaded then, or is by now
            return
        if is_late:
            if awaited.replica.is_away:
                raise UnreachableError(awaited.route.model_id, [awaited.replica.node])
            raise ModelLoadingError(awaited.route.model_id)
        await self._pause()

    async def _queue(self, busy: Choice) -> Choice | None:
        """Wait for a slot of a model; None if its servers are gone."""
        route = busy.route
        self._ticket = Ticket(
            route.model_id,
            self._trace.key,
            partial(self._take_one_like, busy),
            slots=sum(one.slots for one in route.replicas if one.state == READY),
            is_choosy=bool(self._tried),
            is_back=self._is_admitted,
            has_slot=partial(self._has_slot, route.model_id),
        )
        self._is_admitted = True
        try:
            return await self._finder.queue.wait(
                self._ticket,
                limit=self._tables.current.queue_limit,
                late_at=self._deadline(),
            )
        finally:
            self._ticket = None

    async def _pause(self) -> None:
        await asyncio.sleep(POLL_S)
        if self._finder.is_closed:
            raise ShuttingDownError
        self._is_table_fresh = True
        await self._tables.refresh_if_old()

    def _choose(self) -> Choice:
        return self._choose_for(self._wish)

    def _choose_for(self, wish: Wish) -> Choice:
        return self._finder.balancer.choose(
            self._tables.current, wish, self._finder.in_flight, exclude=self._tried
        )

    def _takes(self, choice: Choice) -> bool:
        """Claim a slot if one is free and nobody waits for it."""
        return not self._finder.queue.depth(choice.route.model_id) and self._claims(choice)

    def _has_slot(self, model_id: str) -> bool:
        route = self._tables.current.routes.get(model_id)
        return route is not None and any(
            has_slot(one, self._finder.in_flight)
            for one in route.replicas
            if one.state in (READY, UNREACHABLE)
        )

    def _take_one_like(self, busy: Choice) -> Choice | None:
        """Claim a slot of a model, now that it is this request's turn."""
        pinned = replace(self._wish, name=busy.route.model_id, tier=None)
        choice = self._choose_for(pinned)
        if not self._claims(choice):
            return None
        return busy._replace(route=choice.route, replica=choice.replica, has_slot=True)

    def _claims(self, choice: Choice) -> bool:
        if not self._finder.claim(choice):
            return False
        self._claimed = choice.replica.server_id
        self._is_admitted = True
        return True

    def _comes_elsewhere(self) -> bool:
        """Whether a server may come on a node that is there."""
        awaited = self._finder.balancer.awaited(
            self._tables.current, self._wish, self._finder.in_flight
        )
        return (
            awaited is not None
            and not awaited.replica.is_away
            and not self._has_failed(awaited)
        )

    def _has_failed(self, awaited: Choice) -> bool:
        """Whether it failed although this request has asked for it."""
        replica = awaited.replica
        return replica.state == FAILED and replica.server_id in self._asked

    def _is_late(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline()

    def _deadline(self) -> float:
        """Return until when it waits; the time runs from the first call."""
        if self._late_at is None:
            now = asyncio.get_running_loop().time()
            self._late_at = now + self._tables.current.queue_wait_seconds
        return self._late_at
