"""Tell whoever listens at /api/events that something happened.

An event goes into a stream of Redis, which keeps the newest for those who come back, and
over pub/sub, for the gateway. Events say what to look at again, never more than what the
API answers anyhow.
"""

import json
import logging
import time
from collections.abc import Mapping
from functools import lru_cache

from django.conf import settings
from django.utils import timezone
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.connection import parse_url
from redis.retry import Retry

logger = logging.getLogger(__name__)

SERVER = "server"
MODEL = "model"
PROFILE = "profile"
SCAN = "scan"
TASK = "task"
KINDS = frozenset({SERVER, MODEL, PROFILE, SCAN, TASK})
KEY = "key"  # for the gateways alone: no listener hears of keys
# Of the stream itself: `count` events are missing here; null, if nobody knows how many.
LOST = "lost"

# 0.7 MB of Redis: an event is 150 bytes, and some more there. One that names a long folder
# has up to 4 KB, and all of them together can come to 64 MB, no more.
MAX_KEPT = 4_000
MAX_EVENT_BYTES = 16 * 1024
FIELD = "event"  # of an entry of the stream
TIMEOUT_S = 0.2  # to connect, and for each answer
QUIET_S = 5.0  # after a failure nothing is tried


def publish(kind: str, data: Mapping[str, object]) -> None:
    """Send an event to the listeners of every web process, if there are any.

    It raises nothing, and without Redis it costs a fraction of a second at most, once
    in a few seconds. Call it after the commit of what it tells.

    Args:
        kind: one of KINDS, or KEY.
        data: what goes with it, as JSON has it; `kind` and `at` are added.
    """
    try:
        _publisher(settings.REDIS_URL).publish(kind, data)
    except Exception:  # whatever it is: no scan and no launch fails by it
        logger.exception("A %s event could not be published.", kind)


def event_json(kind: str, data: Mapping[str, object]) -> str:
    return json.dumps({**data, "kind": kind, "at": timezone.now().isoformat()}, allow_nan=False)


def channel(redis_url: str) -> str:
    """Return the channel of this deployment.

    Pub/sub knows no database numbers; deployments that share a Redis are told apart by
    theirs all the same, as their queues are.

    >>> channel("redis://localhost:6379/2")
    'magi:2:events'
    """
    options = parse_url(redis_url)  # type: ignore[no-untyped-call]  # redis has none for it
    return f"magi:{options.get('db', 0)}:events"


def stream(redis_url: str) -> str:
    """Return the key of the stream that keeps what went over `channel`."""
    return f"{channel(redis_url)}.kept"


class Publisher:
    """A client of one Redis, which leaves it alone for a while after it has failed.

    What could not be published is told as `lost` with the next event that can.
    """

    def __init__(self, redis_url: str) -> None:
        self._channel = channel(redis_url)
        self._stream = stream(redis_url)
        self._dropped = 0
        self._quiet_until = float("-inf")  # monotonic, seconds
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def publish(self, kind: str, data: Mapping[str, object]) -> None:
        event = event_json(kind, data)
        is_kept = kind in KINDS
        if len(event) > MAX_EVENT_BYTES:
            self._dropped += is_kept
            message = f"{len(event)} bytes are too many."
            raise ValueError(message)
        if time.monotonic() < self._quiet_until:
            self._dropped += is_kept
            return
        dropped, self._dropped = self._dropped, 0
        # All in one message and one answer. Nothing is sent twice, whatever becomes of it.
        commands = self._redis.pipeline(transaction=False)
        if dropped:
            self._keep(commands, event_json(LOST, {"count": dropped}))
        if is_kept:
            self._keep(commands, event)
        commands.publish(self._channel, event)
        try:
            commands.execute()
        except (RedisError, OSError) as error:
            self._dropped += dropped + is_kept
            self._quiet_until = time.monotonic() + QUIET_S
            logger.debug("No events for %g s: %s", QUIET_S, error)

    def _keep(self, commands: Pipeline, event: str) -> None:
        # About so many: Redis drops whole nodes of them, which costs it next to nothing.
        commands.xadd(self._stream, {FIELD: event}, maxlen=MAX_KEPT, approximate=True)

    def close(self) -> None:
        self._redis.close()


@lru_cache(maxsize=1)
def _publisher(redis_url: str) -> Publisher:
    return Publisher(redis_url)
