"""Tell whoever listens at /api/events that something happened.

Events go over Redis pub/sub: they are kept nowhere, and who does not listen misses them.
They say what to look at again, never more than what the API answers anyhow.
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
from redis.connection import parse_url
from redis.retry import Retry

logger = logging.getLogger(__name__)

SERVER = "server"
MODEL = "model"
PROFILE = "profile"
SCAN = "scan"
TASK = "task"
KINDS = frozenset({SERVER, MODEL, PROFILE, SCAN, TASK})

TIMEOUT_S = 0.2  # to connect, and for each answer
QUIET_S = 5.0  # after a failure nothing is tried


def publish(kind: str, data: Mapping[str, object]) -> None:
    """Send an event to the listeners of every web process, if there are any.

    It raises nothing, and without Redis it costs a fraction of a second at most, once
    in a few seconds. Call it after the commit of what it tells.

    Args:
        kind: one of KINDS.
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


class Publisher:
    """A client of one Redis, which leaves it alone for a while after it has failed."""

    def __init__(self, redis_url: str) -> None:
        self._channel = channel(redis_url)
        self._quiet_until = float("-inf")  # monotonic, seconds
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def publish(self, kind: str, data: Mapping[str, object]) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._redis.publish(self._channel, event_json(kind, data))
        except (RedisError, OSError) as error:
            self._quiet_until = time.monotonic() + QUIET_S
            logger.debug("No events for %g s: %s", QUIET_S, error)

    def close(self) -> None:
        self._redis.close()


@lru_cache(maxsize=1)
def _publisher(redis_url: str) -> Publisher:
    return Publisher(redis_url)
