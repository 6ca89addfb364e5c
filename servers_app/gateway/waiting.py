"""A request's search for a server: it waits for one that is loading, and has one started."""

import asyncio
import logging
from typing import Final

from servers_app.gateway.background import Complaints, SharedCalls
from servers_app.gateway.control import Control
from servers_app.gateway.errors import ModelLoadingError, NoRouteError, NotReachedError
from servers_app.gateway.live import LiveTable
from servers_app.gateway.routes import FAILED, STARTING, Choice
from servers_app.gateway.usage import Usage

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1
DEMAND_TIMEOUT_S: Final = 5.0  # the demand goes on, and so does the wait


class Finder:
    """What the searches of all requests share."""

    def __init__(self, tables: LiveTable, usage: Usage, control: Control) -> None:
        self.tables = tables
        self.usage = usage
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

    def search(self, model: str) -> "Search":
        return Search(model, self)

    async def demand(self, server_id: int) -> None:
        """Have a server wanted, together with whoever else waits for it. Raises nothing."""
        await asyncio.wait({self._demands.start(server_id)}, timeout=DEMAND_TIMEOUT_S)

    def lose(self, server_id: int) -> None:
        """Have somebody look after a server that a connection failed to."""
        self._looks.start(server_id)

    async def close(self) -> None:
        await self._demands.close()
        await self._looks.close()


class Search:
    """One request's search for a server that takes it.

    It waits for `queue_wait_seconds` of the profile in all. A model that fails to load
    while it waits ends it.
    """

    def __init__(self, model: str, finder: Finder) -> None:
        self._model = model
        self._finder = finder
        self._tables = finder.tables
        self._tried: set[int] = set()  # server ids, since it last waited
        self._asked: set[int] = set()
        self._is_harmless = True  # no server broke on the request
        self._late_at: float | None = None  # the loop's clock

    async def first(self) -> Choice:
        """Return a server that is ready; at once if there is one.

        Raises:
            ModelNotFoundError: no enabled model has that name.
            ModelLoadingError: none was ready in time.
            ModelNotReadyError: none is ready, and none will be.
            RoutesUnknownError: no routing table could be read so far.
        """
        try:
            return self._choose()
        except NoRouteError:
            await self._tables.refresh_if_old()
        return await self._wait()

    async def another(self, server_id: int, failure: NotReachedError) -> Choice:
        """Return a server for a request that `server_id` did not answer.

        If nothing was sent, that may be the same one, when it is there again.

        Raises: as `first`, and
            NotReachedError: `failure`, when nobody else is there in time.
        """
        self._tried.add(server_id)
        self._is_harmless &= not failure.was_sent
        try:
            return self._choose()
        except NoRouteError:
            self._start_clock()
            if not self._is_harmless or self._is_late():
                raise failure from None
        self._tried.clear()
        await self._pause()
        return await self._wait()

    async def _wait(self) -> Choice:
        self._start_clock()
        while True:
            try:
                return self._choose()
            except NoRouteError:
                awaited = self._tables.current.awaited(self._model)
                if awaited is None or self._has_failed(awaited):
                    raise
            with self._finder.usage.waiting(awaited.replica.server_id):
                await self._await(awaited)

    async def _await(self, awaited: Choice) -> None:
        """Ask for a server if need be, and read the table once more.

        Raises:
            ModelLoadingError: the time is up.
        """
        server_id = awaited.replica.server_id
        is_asked = server_id in self._asked
        if not is_asked or awaited.replica.state != STARTING:
            self._asked.add(server_id)
            await self._finder.demand(server_id)
        if not is_asked:
            await self._tables.refresh_from_now()  # it was not loaded then, or is by now
            return
        if self._is_late():
            raise ModelLoadingError(awaited.route.model_id)
        await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(POLL_S)
        await self._tables.refresh_if_old()

    def _choose(self) -> Choice:
        in_flight = self._finder.usage.in_flight
        return self._tables.current.choose(self._model, in_flight, exclude=self._tried)

    def _has_failed(self, awaited: Choice) -> bool:
        """Whether it failed although this request has asked for it."""
        replica = awaited.replica
        return replica.state == FAILED and replica.server_id in self._asked

    def _start_clock(self) -> None:
        if self._late_at is None:
            now = asyncio.get_running_loop().time()
            self._late_at = now + self._tables.current.queue_wait_seconds

    def _is_late(self) -> bool:
        return self._late_at is not None and asyncio.get_running_loop().time() >= self._late_at
