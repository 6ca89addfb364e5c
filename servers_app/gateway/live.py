"""The routing table that requests go by: the newest that could be loaded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from servers_app.gateway.background import Complaints, cancelled
from servers_app.gateway.errors import RoutesUnknownError
from servers_app.gateway.routes import RoutingTable

logger = logging.getLogger(__name__)

LoadTable = Callable[[], Awaitable[RoutingTable]]

LOAD_TIMEOUT_S = 5.0
MIN_REFRESH_INTERVAL_S = 0.1  # between refreshes that a request asks for


class LiveTable:
    """The newest routing table that could be loaded."""

    def __init__(self, load: LoadTable) -> None:
        self._load = load
        self._table: RoutingTable | None = None
        self._loading: asyncio.Task[None] | None = None
        self._loaded_at = float("-inf")  # the loop's clock
        self._complaints = Complaints(
            logger,
            failing="The routing table stays as it was.",
            working="The routing table can be read again.",
        )

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
        """Load the table, together with whoever else is waiting for it. Raises nothing."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._reload())
        await asyncio.shield(self._loading)

    async def refresh_if_old(self) -> None:
        age_s = asyncio.get_running_loop().time() - self._loaded_at
        if self._loading is not None or age_s >= MIN_REFRESH_INTERVAL_S:
            await self.refresh()

    async def refresh_from_now(self) -> None:
        """Load the table as it is after this call: one that is being loaded may be older."""
        if self._loading is not None:
            await asyncio.shield(self._loading)
        await self.refresh()

    async def keep_fresh(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await self.refresh()

    async def close(self) -> None:
        if self._loading is not None:
            await cancelled(self._loading)

    async def _reload(self) -> None:
        try:
            with self._complaints:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    self._table = await self._load()
        finally:
            self._loading = None
            self._loaded_at = asyncio.get_running_loop().time()
