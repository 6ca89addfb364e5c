"""Hosts that fell off the network just now: their servers are tried after all others.

A host that packets do not reach says nothing, so each request that goes there loses seconds
until it goes elsewhere. The first one that does tells of the host, not of one server alone.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from servers_app.gateway.http1 import origin_of
from servers_app.gateway.lifelines import connected

AWAY_S: Final = 10.0  # after the last request that fell off
PROBED_S: Final = 600.0
PROBE_INTERVAL_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 2.0

Back = Callable[[str], None]  # takes a host


class Hosts:
    """The hosts that requests of this process fell off, and those that other processes tell of.

    A host stays on the list for AWAY_S, or until something at one of the ports that failed
    takes a connection, or refuses it, which is as good a sign. For PROBED_S somebody looks.
    """

    def __init__(
        self, *, on_back: Back | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take whom to tell of a host that is back before its time is up."""
        self._on_back = on_back
        self._clock = clock
        self._until: dict[str, float] = {}
        self._origins: dict[str, set[str]] = {}  # base URLs that failed, by host
        self._heard: dict[str, dict[str, float]] = {}  # until, by process and host
        self._noted = asyncio.Event()

    def fell_off(self, base_url: str) -> None:
        """Note that a request to a server did not arrive, or its connection is cut off."""
        host = origin_of(base_url).host
        self._until[host] = self._clock() + AWAY_S
        self._origins.setdefault(host, set()).add(base_url)
        self._noted.set()

    @property
    def knows_some(self) -> bool:
        """Whether there is a host that may be away."""
        return bool(self._until or self._heard)

    def is_away(self, base_url: str) -> bool:
        host, now = origin_of(base_url).host, self._clock()
        return self._until.get(host, 0) > now or any(
            told.get(host, 0) > now for told in self._heard.values()
        )

    def is_back(self, host: str) -> None:
        self._until.pop(host, None)
        self._origins.pop(host, None)
        if self._on_back is not None:
            self._on_back(host)

    def away(self) -> dict[str, float]:
        """Return the seconds for which hosts are away still, as this process has found out."""
        now = self._clock()
        return {host: until - now for host, until in self._until.items() if until > now}

    def hear(self, process: str, away: Mapping[str, float]) -> None:
        """Take what another process tells, in place of what it told before."""
        now = self._clock()
        if away:
            self._heard[process] = {host: now + left for host, left in away.items()}
        else:
            self._heard.pop(process, None)

    def forget(self, processes: Iterable[str]) -> None:
        for process in processes:
            self._heard.pop(process, None)

    async def keep_probing(self) -> None:
        """See whether hosts are back, as long as some are away. Ends when cancelled."""
        while True:
            await self._noted.wait()
            await asyncio.sleep(PROBE_INTERVAL_S)
            oldest = self._clock() - PROBED_S + AWAY_S
            for host in [host for host, until in self._until.items() if until < oldest]:
                del self._until[host], self._origins[host]
            urls = [url for urls in self._origins.values() for url in urls]
            await asyncio.gather(*map(self._probe, urls))
            if not self._until:
                self._noted.clear()

    async def _probe(self, base_url: str) -> None:
        origin = origin_of(base_url)
        with suppress(OSError):  # TimeoutError among them
            with suppress(ConnectionRefusedError):
                (await connected(origin.host, origin.port, PROBE_TIMEOUT_S)).close()
            self.is_back(origin.host)
