"""The routing table that requests go by: the newest that could be loaded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from servers_app.gateway.background import Complaints, cancelled
from servers_app.gateway.errors import RoutesUnknownError
from servers_app.gateway.routes import RoutingTable

logger = logging.getLogger(__name__)

LoadTable = Callable[[], Awaitable[RoutingTable]]


class Tables(Protocol):
    """The newest routing table, as a request may see it."""

    @property
    def current(self) -> RoutingTable:
        """The last one that was loaded. Raises: RoutesUnknownError: none was, so far."""

    async def refresh_if_old(self) -> None: ...

    async def refresh_from_now(self) -> None: ...


LOAD_TIMEOUT_S = 5.0
PATIENCE_S = 1.0  # of those who wait for a table, and have an older one
MIN_REFRESH_INTERVAL_S = 0.1  # between refreshes that a request asks for


class LiveTable:
    """The newest routing table that could be loaded."""

    def __init__(self, load: LoadTable) -> None:
        self._load = load
        self._table: RoutingTable | None = None
        self._loading: asyncio.Task[None] | None = None
        self._loaded_at = float("-inf")  # the loop's clock
        self._restricted: dict[frozenset[str], RoutingTable] = {}  # of the models of keys
        self._restricted_from: RoutingTable | None = None
        self._complaints = Complaints(
            logger,
            failing="The routing table stays as it was.",
            working="The routing table can be read again.",
        )

    @property
    def has_table(self) -> bool:
        return self._table is not None

    @property
    def current(self) -> RoutingTable:
        """The last table that was loaded.

        Raises:
            RoutesUnknownError: none was, so far.
        """
        if self._table is None:
            raise RoutesUnknownError
        return self._table

    async def refresh(self) -> None:
        """Load the table, together with whoever else is waiting for it. Raises nothing.

        A database that hangs keeps nobody for longer than PATIENCE_S, once there is a table.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._reload())
        await self._loaded(self._loading)

    async def refresh_if_old(self) -> None:
        age_s = asyncio.get_running_loop().time() - self._loaded_at
        if self._loading is not None or age_s >= MIN_REFRESH_INTERVAL_S:
            await self.refresh()

    async def refresh_from_now(self) -> None:
        """Load the table as it is after this call: one that is being loaded may be older."""
        if self._loading is not None:
            await self._loaded(self._loading)
        await self.refresh()

    def only(self, model_ids: frozenset[str]) -> Tables:
        """Return the tables as they are for who may use those models; for all with none."""
        return RestrictedTables(self, model_ids) if model_ids else self

    def current_for(self, model_ids: frozenset[str]) -> RoutingTable:
        """Return the last table, with those models alone. It is worked out once for each.

        Raises:
            RoutesUnknownError: none was loaded, so far.
        """
        if self._restricted_from is not self.current:
            self._restricted_from, self._restricted = self.current, {}
        table = self._restricted.get(model_ids)
        if table is None:
            table = self._restricted[model_ids] = self.current.only(model_ids)
        return table

    async def keep_fresh(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await self.refresh()

    async def close(self) -> None:
        if self._loading is not None:
            await cancelled(self._loading)

    async def _loaded(self, loading: asyncio.Task[None]) -> None:
        patience_s = None if self._table is None else PATIENCE_S
        await asyncio.wait({loading}, timeout=patience_s)

    async def _reload(self) -> None:
        try:
            with self._complaints:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    self._table = await self._load()
        finally:
            self._loading = None
            self._loaded_at = asyncio.get_running_loop().time()


class RestrictedTables:
    """The tables of who may use some models and no others."""

    __slots__ = ("_model_ids", "_tables", "refresh_from_now", "refresh_if_old")

    def __init__(self, tables: LiveTable, model_ids: frozenset[str]) -> None:
        self._tables = tables
        self._model_ids = model_ids
        self.refresh_if_old = tables.refresh_if_old
        self.refresh_from_now = tables.refresh_from_now

    @property
    def current(self) -> RoutingTable:
        return self._tables.current_for(self._model_ids)
