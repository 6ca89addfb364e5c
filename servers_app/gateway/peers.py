"""What the gateway processes tell each other: their requests in flight and in line, their open
breakers, and the hosts that fell off the network.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from servers_app.gateway.background import Complaints
from servers_app.gateway.breaker import MAX_BACKOFF_S, Breakers, Opened
from servers_app.gateway.hosts import AWAY_S, Hosts
from servers_app.gateway.lifelines import probing
from servers_app.gateway.queueing import Elsewhere, Queue

logger = logging.getLogger(__name__)

TELL_INTERVAL_S: Final = 0.25
HEARTBEAT_S: Final = 1.0  # what has not changed is told so often
SILENT_S: Final = 2.0  # a process of which nothing is heard for so long has ended
MAX_PEERS: Final = 256
MAX_WAIT_S: Final = 1e6  # of a request
MAX_TOLD: Final = 1000  # models and hosts, of one process
RECONNECT_PAUSE_S: Final = 1.0
HINT_PAUSE_S: Final = 0.1  # between two reads of the table
TIMEOUT_S: Final = 2.0  # to connect, and for each answer of Redis
_HINTS: Final = frozenset({"server", "model", "profile", "key"})
# What comes of reading a message that somebody else put on our channel.
_NOT_OURS: Final = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
)  # fmt: skip


class Transport(Protocol):
    """A channel that every process hears."""

    async def publish(self, message: bytes) -> None: ...

    def messages(self) -> AsyncIterator[bytes | None]:
        """Yield None when the channel is open, then each message; raise when it is lost."""


class RedisChannel:
    """A pub/sub channel. Made inside the running event loop; `close()` when done."""

    def __init__(self, redis_url: str, channel: str) -> None:
        self._channel = channel
        # No timeout of redis's own for answers: with it, it sends by `asyncio.wait_for`, which
        # in Python 3.11 swallows a cancellation that comes when all is sent. Who listens only
        # would never notice a Redis whose host is not there any more: so the kernel asks.
        options: dict[str, Any] = {}
        if not redis_url.startswith("unix:"):
            options["socket_keepalive_options"] = probing()
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    async def publish(self, message: bytes) -> None:
        """Publish as `Transport` has it.

        Raises:
            redis.RedisError, OSError: Redis cannot be reached, or has gone.
        """
        async with asyncio.timeout(TIMEOUT_S):
            await self._redis.publish(self._channel, message)

    async def messages(self) -> AsyncIterator[bytes | None]:
        """Yield as `Transport` has it.

        Raises:
            redis.RedisError, OSError: Redis cannot be reached, or has gone.
        """
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.subscribe(self._channel)
            while True:
                response = await pubsub.parse_response()
                if response is None:
                    # The socket has timed out. redis takes that for a wait which has: its own
                    # `listen` would ask again at once, and let nobody else have the loop.
                    gone = "the host of Redis is not there any more"
                    raise ConnectionAbortedError(gone)
                message = await pubsub.handle_message(response)
                if message["type"] == "subscribe":
                    yield None
                elif message["type"] == "message":
                    yield message["data"]

    async def close(self) -> None:
        await self._redis.aclose()


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of a gateway process: one of the gateways, one of what changes."""

    peers: RedisChannel
    events: RedisChannel

    async def close(self) -> None:
        await self.peers.close()
        await self.events.close()


def open_channels(redis_url: str, events: str) -> Channels:
    """Open both; `events` is the name of that of models_app.events."""
    return Channels(
        RedisChannel(redis_url, f"{events}.gateways"), RedisChannel(redis_url, events)
    )


class InFlight(Mapping[int, int]):
    """The requests in flight by server id, in this process and its peers; 0 for any other."""

    def __init__(self, own: Mapping[int, int], others: Mapping[int, int]) -> None:
        self._own = own
        self._others = others

    def __getitem__(self, server_id: int) -> int:
        return self._own.get(server_id, 0) + self._others.get(server_id, 0)

    def __iter__(self) -> Iterator[int]:
        return iter(self._own.keys() | self._others.keys())

    def __len__(self) -> int:
        return len(self._own.keys() | self._others.keys())


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a process last told."""

    at: float  # the clock of `Peers`
    in_flight: Mapping[int, int]
    opened: Mapping[int, Opened]
    queued: Mapping[str, Elsewhere]


class Peers:
    """The other gateway processes of this deployment.

    Attributes:
        in_flight: the requests of all of them and of this one, kept current.
    """

    def __init__(
        self,
        transport: Transport,
        own: Mapping[int, int],
        breakers: Breakers,
        *,
        hosts: Hosts | None = None,
        queue: Queue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what is told to the others, and whom to tell what they have open.

        Args:
            own: this process's requests in flight, by server id, which its owner keeps
                current.
            queue: is told who waits elsewhere.
        """
        self._hosts = hosts or Hosts()
        self._queue = queue or Queue()
        self._queued: dict[str, list[Elsewhere]] = {}
        self._queue.elsewhere = self._queued
        self._is_urgent = asyncio.Event()
        self._queue.on_yield = self._is_urgent.set
        self._transport = transport
        self._own = own
        self._breakers = breakers
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._heard: dict[str, _Heard] = {}
        self._others: Counter[int] = Counter()
        self.in_flight: Mapping[int, int] = InFlight(own, self._others)
        self._last_told: object = None
        self._told_at = float("-inf")
        self._complaints = Complaints(
            logger,
            failing="The gateway processes do not hear of each other's requests.",
            working="The gateway processes hear of each other's requests again.",
        )

    async def run(self) -> None:
        """Tell and hear, whatever becomes of the channel. Ends when cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            tasks.create_task(self._keep_hearing())

    async def tell(self) -> None:
        """Publish what has changed, or that nothing has, once in a second.

        Raises:
            Exception: what the transport raises.
        """
        opened, away = self._breakers.opened(), self._hosts.away()
        in_flight, queued = dict(self._own), self._queue.waiting()
        lengths = {model_id: count for model_id, (count, *_) in queued.items()}
        state = (in_flight, frozenset(opened), frozenset(away), lengths)
        now = self._clock()
        if state == self._last_told and now - self._told_at < HEARTBEAT_S:
            return
        message = {
            "process": self._process,
            "in_flight": in_flight,
            "open": opened,
            "away": away,
            "queued": queued,
        }
        await self._transport.publish(json.dumps(message, separators=(",", ":")).encode())
        self._last_told, self._told_at = state, now

    def hear(self, message: bytes) -> None:
        """Take in what a process told; what is not of our kind is ignored."""
        with suppress(*_NOT_OURS):
            told = json.loads(message)
            process = str(told["process"])
            is_known = process in self._heard or len(self._heard) < MAX_PEERS
            if process == self._process or not is_known:
                return
            now = self._clock()
            away = _few(told.get("away"))
            heard = _Heard(
                now,
                {int(key): max(int(count), 0) for key, count in told["in_flight"].items()},
                {int(key): _opened(*value) for key, value in told["open"].items()},
                {key: _waiting(now, *of) for key, of in _few(told.get("queued")).items()},
            )
            hosts = {host: _seconds(left, AWAY_S) for host, left in away.items()}
            self._heard[process] = heard
            self._breakers.hear(process, heard.opened)
            self._hosts.hear(process, hosts)
            self._sum()

    def forget_silent(self) -> None:
        """Drop what processes told that are not heard of any more."""
        oldest = self._clock() - SILENT_S
        silent = [process for process, heard in self._heard.items() if heard.at < oldest]
        for process in silent:
            del self._heard[process]
        if silent:
            self._breakers.forget(silent)
            self._hosts.forget(silent)
            self._sum()

    def _sum(self) -> None:
        self._others.clear()
        self._queued.clear()
        for heard in self._heard.values():
            self._others.update(heard.in_flight)
            for model_id, waiting in heard.queued.items():
                self._queued.setdefault(model_id, []).append(waiting)

    async def _keep_telling(self) -> NoReturn:
        while True:
            self.forget_silent()
            with suppress(RedisError, OSError):  # who hears complains of the same
                await self.tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL_INTERVAL_S):
                    await self._is_urgent.wait()
            self._is_urgent.clear()

    async def _keep_hearing(self) -> None:
        async for message in _received(self._transport, self._complaints):
            if message is not None:
                self.hear(message)


async def hints(transport: Transport, changed: Callable[[], Awaitable[object]]) -> None:
    """Call `changed` soon after a server, a model, a profile or a key has. Ends when cancelled.

    What happens while it runs is one call more. It is also called when the channel is
    opened, for what was told to nobody before.

    Args:
        transport: the channel of models_app.events.
        changed: raises nothing.
    """
    is_due = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep_calling(changed, is_due))
        complaints = Complaints(
            logger,
            failing="Changes take a second to reach the gateway.",
            working="Changes reach the gateway at once again.",
        )
        async for message in _received(transport, complaints):
            if message is None or _is_hint(message):
                is_due.set()


async def _keep_calling(
    changed: Callable[[], Awaitable[object]], is_due: asyncio.Event
) -> None:
    while True:
        await is_due.wait()
        is_due.clear()
        await changed()
        await asyncio.sleep(HINT_PAUSE_S)


async def _received(
    transport: Transport, complaints: Complaints
) -> AsyncIterator[bytes | None]:
    """Yield what a channel yields, and go on when it was lost."""
    while True:
        with complaints:
            async for message in transport.messages():
                if message is None:
                    with complaints:
                        pass  # it works, which otherwise would be said at the end
                yield message
        await asyncio.sleep(RECONNECT_PAUSE_S)


def _is_hint(message: bytes) -> bool:
    with suppress(*_NOT_OURS):
        return json.loads(message)["kind"] in _HINTS
    return False


def _opened(left_s: object, ready_at: object) -> Opened:
    """Return an open breaker as a peer told it.

    Raises:
        ValueError, TypeError: that is not one.
    """
    left_s = _seconds(left_s, MAX_BACKOFF_S + 1)
    if ready_at is not None and not isinstance(ready_at, int | float):
        message = "no unix time"
        raise TypeError(message)
    return Opened(left_s, ready_at)


def _waiting(now: float, count: object, oldest_s: object, newest_s: object) -> Elsewhere:
    """Return a line as a peer told it. Raises: ValueError: that is not one."""
    if not isinstance(count, int) or count <= 0:
        message = "nobody waits"
        raise ValueError(message)
    return Elsewhere(count, now - _seconds(oldest_s), now - _seconds(newest_s))


def _seconds(told: object, most: float = MAX_WAIT_S) -> float:
    """Return a number of seconds that a peer told. Raises: ValueError: it is none."""
    if not isinstance(told, int | float) or not 0 <= told <= most:
        message = "no number of seconds"
        raise ValueError(message)
    return told


def _few(told: object) -> dict[str, Any]:
    """Return what a peer told by names; nothing where it told none, as older ones do."""
    if told is None:
        return {}
    if not isinstance(told, dict) or len(told) > MAX_TOLD:
        message = "no names"
        raise ValueError(message)
    return told
