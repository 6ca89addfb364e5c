"""GET /metrics: what Prometheus reads, of whichever web process it asks.

An ASGI application of its own, before Django: a database that hangs, and the thread of a view
that hangs with it, are what it is to tell of.
"""

import asyncio
import logging
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import django
from django.conf import settings
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from magi_site.metrics.facts import Facts, gauge, read_facts
from magi_site.metrics.families import process_families
from magi_site.metrics.shared import SharedCounts, Told
from magi_site.operations import looks
from magi_site.operations.parts import redis_client
from models_app.queue import CLUSTER, queue_of
from servers_app.gateway.access import READ
from servers_app.gateway.app import Gateway
from servers_app.gateway.asgi import Exchange, Receive, Scope, Send
from servers_app.gateway.background import Complaints, cancelled
from servers_app.gateway.errors import GatewayError
from servers_app.gateway.gauges import Gauges
from servers_app.gateway.metrics import Counts

logger = logging.getLogger(__name__)

PATH: Final = "/metrics"
ACCESS_TIMEOUT_S: Final = 1.0  # who is signed in, the database knows
LOOK_TIMEOUT_S: Final = 1.0  # for the database and Redis, side by side
KEPT_S: Final = 5.0  # several that scrape ask the database once
WRITE_INTERVAL_S: Final = 1.0  # what a process that is killed has counted for nothing
_UNACKED: Final = "unacked"  # Celery's: what workers have taken and not yet done


class MetricsEndpoint:
    """Answers /metrics. `startup()` and `shutdown()` run in the loop that serves it."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self._gateway = gateway
        self._shared = SharedCounts(folder)
        self._is_sharing = False
        self._keeping: asyncio.Task[None] | None = None
        self._facts: Facts | None = None
        self._facts_at = float("-inf")  # monotonic
        self._nodes: tuple[str, ...] = (settings.MAGI_NODE,)
        self._complaints = Complaints(
            logger,
            failing="Metrics cannot be shared with the other web processes of this machine.",
            working="Metrics are shared again.",
        )

    def startup(self) -> None:
        with self._complaints:
            self._shared.open()
            self._shared.write(*self._own())
            self._is_sharing = True
        self._keeping = asyncio.create_task(self._keep_written())

    async def shutdown(self) -> None:
        if self._keeping is not None:
            await cancelled(self._keeping)
        if self._is_sharing:
            with self._complaints:
                self._shared.write(*self._own())
        self._shared.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        if exchange.method != "GET":
            detail = f"{exchange.method} is not possible here. Use GET."
            await exchange.answer(405, {"detail": detail}, [(b"allow", b"GET")])
            return
        try:
            async with asyncio.timeout(ACCESS_TIMEOUT_S):
                await self._gateway.let_in(exchange, READ)
        except GatewayError as error:
            await exchange.answer(error.status, {"detail": error.message}, error.headers())
            return
        except TimeoutError:
            detail = "The database does not say who is signed in. Send an API key instead."
            await exchange.answer(503, {"detail": detail})
            return
        accept = (exchange.header(b"accept") or b"").decode("latin-1")
        own = self._own()
        body, content_type = await asyncio.to_thread(self._answer, accept, *own)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await exchange.start(200, headers)
        await exchange.end(body)

    def _own(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what this process has counted, as of now: the loop counts on meanwhile."""
        return self._gateway.metrics.counts.as_json(), self._gateway.gauges().as_json()

    async def _keep_written(self) -> None:
        """Write down what has changed, about once a second. Ends when cancelled."""
        written: object = None
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            own = self._own()
            if self._is_sharing and own != written:
                with self._complaints:
                    await asyncio.to_thread(self._shared.write, *own)
                    written = own

    def _answer(
        self, accept: str, counts: dict[str, Any], gauges: dict[str, Any]
    ) -> tuple[bytes, str]:
        """Return the answer and its content type. It takes about LOOK_TIMEOUT_S at most."""
        told = Told(Counts.from_json(counts), (Gauges.from_json(gauges),))
        if self._is_sharing:
            with self._complaints:
                self._shared.write(counts, gauges)
                told = self._shared.read()
        encode, content_type = choose_encoder(accept)
        families = _Families([*_build(), *process_families(told), *self._looked()])
        return encode(families), content_type

    def _looked(self) -> Iterator[Metric]:
        begun: dict[str, Any] = {"metrics-redis": looks.begin("metrics-redis", self._redis)}
        is_old = time.monotonic() - self._facts_at >= KEPT_S
        if is_old or self._facts is None:
            begun["metrics-database"] = looks.begin("metrics-database", read_facts)
        found = looks.results(begun, seconds=LOOK_TIMEOUT_S)
        facts = found.get("metrics-database", self._facts)
        if isinstance(facts, Facts):
            if facts is not self._facts:
                self._facts, self._facts_at, self._nodes = facts, time.monotonic(), facts.nodes
            yield from facts.families
        else:
            self._facts = None  # what was is not what is
        is_up = float(isinstance(facts, Facts))
        yield gauge("magi_database_up", "Whether the database answers.", (), [((), is_up)])
        redis = found["metrics-redis"]
        is_up = float(not isinstance(redis, Exception))
        yield gauge("magi_redis_up", "Whether Redis answers.", (), [((), is_up)])
        if not isinstance(redis, Exception):
            yield from redis

    def _redis(self) -> tuple[Metric, ...]:
        """Ask Redis how many tasks wait in each queue.

        Raises:
            redis.RedisError, OSError: it does not answer.
        """
        queues = [CLUSTER, *map(queue_of, sorted({*self._nodes, settings.MAGI_NODE}))]
        with redis_client() as redis:
            began = time.monotonic()
            redis.ping()
            latency_s = time.monotonic() - began
            pipeline = redis.pipeline(transaction=False)
            for queue in queues:
                pipeline.llen(queue)
            pipeline.hlen(_UNACKED)
            *waiting, taken = pipeline.execute()
        queued = zip(queues, waiting, strict=True)
        return (
            gauge("magi_redis_round_trip_seconds", "Of a PING.", (), [((), latency_s)]),
            gauge(
                "magi_tasks_queued",
                "Tasks that wait in a queue: node.NAME is that of a node.",
                ("queue",),
                (((queue,), count) for queue, count in queued),
            ),
            gauge(
                "magi_tasks_taken",
                "Tasks that workers have taken and not yet ended.",
                (),
                [((), taken)],
            ),
        )


class _Families:
    """What prometheus_client takes for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _build() -> Iterator[Metric]:
    versions = (settings.MAGI_VERSION, platform.python_version(), django.get_version())
    yield gauge(
        "magi_build_info",
        "What answers this.",
        ("version", "python", "django"),
        [(versions, 1.0)],
    )
