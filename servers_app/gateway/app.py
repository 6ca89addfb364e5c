"""The gateway: one OpenAI-compatible address for every enabled model.

A plain ASGI application for the paths under /v1/. It holds a routing table that a
background task refreshes, so a request that a ready server takes waits for no database.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from models_app.request_ids import current_request_id, set_request_id
from servers_app.complexity.prompts import read_prompt
from servers_app.complexity.scores import Score
from servers_app.gateway.access import EVERYBODY, INFER, READ, Caller, Door, Keys, Rules
from servers_app.gateway.answering import Answering
from servers_app.gateway.asgi import Exchange, Receive, Scope, Send
from servers_app.gateway.background import cancelled
from servers_app.gateway.breaker import BreakerState
from servers_app.gateway.cards import card_of, cards
from servers_app.gateway.comments import fail
from servers_app.gateway.control import NO_CONTROL, Control
from servers_app.gateway.errors import (
    ClientGoneError,
    GatewayError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RoutesUnknownError,
)
from servers_app.gateway.gauges import Gauges, gauges_of
from servers_app.gateway.http1 import Timeouts
from servers_app.gateway.judging import Judge
from servers_app.gateway.ledger import Ledger
from servers_app.gateway.live import LiveTable, LoadTable
from servers_app.gateway.metrics import RequestMetrics
from servers_app.gateway.peers import Channels, Peers, hints
from servers_app.gateway.query import Event, Query, answer_query
from servers_app.gateway.relay import DEFAULT_TIMEOUTS, Relay, note_error
from servers_app.gateway.request_line import RequestLine
from servers_app.gateway.spans import Spans
from servers_app.gateway.stages import opener
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Finder

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 2**20

MODELS_PATH: Final = "/v1/models"
POST_PATHS: Final = frozenset(
    {
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
        "/v1/messages", "/v1/rerank",
    }
)  # fmt: skip
QUERY_PATH: Final = "/api/query"
_RELAYED_PATH: Final = re.compile(r"/v1/[A-Za-z0-9._~/-]+")
_QUERY: Final = re.compile(rb"[\x21-\x7e]*")


class Gateway:
    """The ASGI application. `startup()` and `shutdown()` run in the loop that serves it."""

    def __init__(  # noqa: PLR0913 - what it is given from outside, all by name
        self,
        load_table: LoadTable,
        control: Control = NO_CONTROL,
        *,
        rules: Rules = EVERYBODY,
        channels: Callable[[], Channels] | None = None,
        keep_prompts: bool = False,
        allow_remote_media: bool = False,
        has_request_lines: bool = False,
        spans: Spans | None = None,
        refresh_seconds: float = 1.0,
        max_body_bytes: int = MAX_BODY_BYTES,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """Take what gives the table, and what is asked for beside it; without, nothing is.

        Args:
            rules: who may call; by default, everybody who brings no bad key.
            channels: opens those to the other processes; without, there is no other.
            keep_prompts: have what was asked written down with each request.
            allow_remote_media: let llama-servers fetch images and sounds that requests name.
            has_request_lines: have a line in the log of each request that is over.
            spans: what traces requests; without, none is.
        """
        self._tables = LiveTable(load_table)
        self.metrics = RequestMetrics(self._tables)
        self._request_line = RequestLine() if has_request_lines else None
        self._spans = spans
        self._door = Door(
            rules, self._known_keys, control.note_keys, refresh=self._tables.refresh_if_old
        )
        self._usage = Usage(control.note_use)
        self._finder = Finder(self._tables, self._usage, control)
        self._ledger = Ledger(control.record)
        self._examples = control.examples
        self._open_channels = channels
        self._keep_prompts = keep_prompts
        self._allow_remote_media = allow_remote_media
        self._refresh_seconds = refresh_seconds
        self._max_body_bytes = max_body_bytes
        self._timeouts = timeouts
        self._running: _Running | None = None

    async def startup(self) -> None:
        balancer = self._finder.balancer
        relay = Relay(
            self._usage,
            self._finder.lose,
            won=balancer.won,
            failed=balancer.failed,
            cut_off=balancer.cut_off,
            timeouts=self._timeouts,
        )
        judge = Judge(opener(relay, self._finder), self._examples)
        await self._tables.refresh()
        self._door.open()
        tasks = [
            asyncio.create_task(self._tables.keep_fresh(self._refresh_seconds)),
            asyncio.create_task(self._usage.keep_noted()),
            asyncio.create_task(self._ledger.keep_written()),
            asyncio.create_task(judge.keep_learning()),
            asyncio.create_task(self._door.keep_noted()),
            asyncio.create_task(balancer.hosts.keep_probing()),
        ]
        channels = self._open_channels() if self._open_channels is not None else None
        if channels is not None:
            peers = Peers(
                channels.peers,
                self._usage.in_flight,
                balancer.breakers,
                hosts=balancer.hosts,
                queue=self._finder.queue,
            )
            self._finder.in_flight = peers.in_flight
            refresh = self._tables.refresh_from_now
            tasks += [
                asyncio.create_task(peers.run()),
                asyncio.create_task(hints(channels.events, refresh)),
            ]
        self._running = _Running(
            relay=relay,
            judge=judge,
            answering=Answering(
                self._finder,
                relay,
                judge,
                keep_prompts=self._keep_prompts,
                allow_remote_media=self._allow_remote_media,
            ),
            channels=channels,
            tasks=tasks,
        )

    async def shutdown(self) -> None:
        await self._finder.close()
        if self._running is not None:
            await self._running.close()
            await self._door.close()
        await self._ledger.close()
        await self._tables.close()

    @property
    def has_table(self) -> bool:
        """Whether requests can be routed: the routing table was read once."""
        return self._tables.has_table

    def in_flight(self) -> Mapping[int, int]:
        """Return the requests that servers work on now, by server id, over all processes."""
        return self._finder.in_flight

    def breakers(self) -> Mapping[int, BreakerState]:
        """Return the state of the circuit breaker of each server that has failed lately."""
        return self._finder.balancer.breakers.states()

    def gauges(self) -> Gauges:
        """Return what this process has in hand now; nothing before it has a routing table."""
        table = None
        with suppress(RoutesUnknownError):
            table = self._tables.current
        usage = self._finder.usage
        return gauges_of(
            table,
            in_flight=usage.in_flight,
            waited_for=usage.waited_for,
            queued=self._finder.queue.depths,
            breakers=self.breakers(),
        )

    async def let_in(self, exchange: Exchange, *scopes: str) -> None:
        """Let somebody in who wants what is answered beside /v1, as for a request of it.

        Raises:
            GatewayError: they may not.
        """
        caller = self._door.glance(exchange) or await self._door.admit(exchange)
        await self._door.spend(caller, *scopes)

    async def refresh(self) -> None:
        """Read the routing table as it is after this call. Raises nothing."""
        await self._tables.refresh_from_now()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        set_request_id(exchange.request_id)  # each request has a task of its own
        try:
            await self._answer(exchange)
        except ClientGoneError:
            logger.debug("The client of request %s left.", exchange.request_id)
        except GatewayError as error:
            self.metrics.refused(error)
            await fail(exchange, error)
        except Exception:
            logger.exception("Request %s failed in the gateway.", exchange.request_id)
            if not exchange.started:
                await fail(exchange, InternalError(exchange.request_id))
        finally:
            if self._request_line is not None:
                self._request_line.write(exchange)

    async def query(
        self, query: Query, *, key: str = "", model_ids: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Event, None]:
        """Answer a question of the REST API, which has been let in there.

        Args:
            key: who asks, as a trace has it.
            model_ids: those that may answer; none: all.

        Raises: as `answer_query`.
        """
        running, tables = self._started(), self._tables.only(model_ids)

        async def score(path: str, body: Mapping[str, Any]) -> Score:
            return await running.judge.score(self._tables.current, read_prompt(path, body))

        trace = Trace(current_request_id() or secrets.token_hex(16), QUERY_PATH, key=key)
        answering = answer_query(
            query,
            open_=opener(running.relay, self._finder, tables),
            score_it=score,
            table=tables.current,
            trace=trace,
        )
        try:
            async with aclosing(answering) as events:
                async for event in events:
                    yield event
        except GatewayError as error:
            self.metrics.refused(error)
            note_error(trace, error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            trace.outcome = Outcome.CLIENT_GONE
            raise
        finally:
            self._note(trace)

    def _known_keys(self) -> Keys:
        return self._tables.current.keys

    async def _answer(self, exchange: Exchange) -> None:
        caller = self._door.glance(exchange) or await self._door.admit(exchange)
        method, path = exchange.method, exchange.path
        if path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            if method != "GET":
                raise MethodNotAllowedError(method, path, allow="GET")
            await self._answer_models(exchange, caller)
        elif method == "POST" and _is_relayed(path):
            await self._answer_post(exchange, caller)
        elif path in POST_PATHS:
            raise MethodNotAllowedError(method, path, allow="POST")
        else:
            raise NotFoundError(method, path)

    async def _answer_models(self, exchange: Exchange, caller: Caller) -> None:
        await self._door.spend(caller, INFER, READ)
        tables = self._tables.only(caller.model_ids)
        model_id = exchange.path.removeprefix(MODELS_PATH).removeprefix("/")
        if exchange.path == MODELS_PATH:
            listed = list(cards(tables.current).values())
            await exchange.answer(200, {"object": "list", "data": listed})
            return
        card = card_of(tables.current, model_id)
        if card is None:
            await tables.refresh_if_old()
            card = card_of(tables.current, model_id)
        if card is None:
            raise tables.current.no_model(model_id)
        await exchange.answer(200, card)

    async def _answer_post(self, exchange: Exchange, caller: Caller) -> None:
        running = self._started()
        trace = Trace(exchange.request_id, exchange.path, key=caller.id)
        exchange.trace = trace
        if self._spans is not None:
            trace.spans = self._spans.begin(exchange.headers, trace)
        try:
            if caller.key is not None:
                await self._door.spend(caller, INFER)
            if not _QUERY.fullmatch(exchange.query):
                message = "The query string holds a character that must be percent-encoded."
                raise InvalidRequestError(message)
            body = await exchange.read_body(self._max_body_bytes)
            tables = self._tables.only(caller.model_ids)
            await running.answering.answer(exchange, body, trace, tables)
        except GatewayError as error:
            note_error(trace, error)
            raise
        finally:
            self._note(trace)

    def _note(self, trace: Trace) -> None:
        trace.total_s = trace.elapsed_s()
        self.metrics.done(trace)
        if trace.spans is not None:
            trace.spans.end(trace)
        self._ledger.done(trace)

    def _started(self) -> "_Running":
        if self._running is None:
            message = "Gateway.startup() has not run."
            raise RuntimeError(message)
        return self._running


class _Running:
    """What is there between startup and shutdown."""

    def __init__(
        self,
        *,
        relay: Relay,
        judge: Judge,
        answering: Answering,
        channels: Channels | None,
        tasks: list[asyncio.Task[None]],
    ) -> None:
        self.relay = relay
        self.judge = judge
        self.answering = answering
        self._channels = channels
        self._tasks = tasks

    async def close(self) -> None:
        for task in self._tasks:
            await cancelled(task)
        await self.judge.close()
        if self._channels is not None:
            await self._channels.close()
        await self.relay.close()


def _is_relayed(path: str) -> bool:
    return ".." not in path and _RELAYED_PATH.fullmatch(path) is not None
