"""The gateway: one OpenAI-compatible address for every enabled model.

A plain ASGI application for the paths under /v1/. It never asks the database during a
request: it holds a routing table that a background task refreshes.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypedDict

from servers_app.gateway.asgi import Exchange, Receive, Scope, Send
from servers_app.gateway.bodies import read_model, with_defaults
from servers_app.gateway.errors import (
    ClientGoneError,
    GatewayError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NoRouteError,
    NotFoundError,
    RoutesUnknownError,
)
from servers_app.gateway.relay import Relay
from servers_app.gateway.routes import (
    AUTO,
    READY,
    STARTING,
    STOPPED,
    Choice,
    Route,
    RoutingTable,
)

logger = logging.getLogger(__name__)

LoadTable = Callable[[], Awaitable[RoutingTable]]

MAX_BODY_BYTES = 64 * 2**20
LOAD_TIMEOUT_S = 5.0
MIN_REFRESH_INTERVAL_S = 0.1  # between refreshes that a request asks for

MODELS_PATH: Final = "/v1/models"
POST_PATHS: Final = frozenset(
    {
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
        "/v1/messages", "/v1/rerank",
    }
)  # fmt: skip
# Those that take llama-server's own names; a preset means nothing to the others.
SAMPLED_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
_RELAYED_PATH: Final = re.compile(r"/v1/[A-Za-z0-9._~/-]+")
_QUERY: Final = re.compile(rb"[\x21-\x7e]*")


class ModelCard(TypedDict):
    id: str
    object: str
    created: int
    owned_by: str
    display_name: str
    kind: str
    tier: str | None
    context_length: int | None
    state: str


class LiveTable:
    """The newest routing table that could be loaded."""

    def __init__(self, load: LoadTable) -> None:
        self._load = load
        self._table: RoutingTable | None = None
        self._loading: asyncio.Task[None] | None = None
        self._loaded_at = float("-inf")  # the loop's clock
        self._complaint: str | None = None

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

    async def keep_fresh(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await self.refresh()

    async def close(self) -> None:
        if self._loading is not None:
            await _cancelled(self._loading)

    async def _reload(self) -> None:
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                self._table = await self._load()
        except Exception as error:
            self._complain(error)
        else:
            if self._complaint is not None:
                logger.info("The routing table can be read again.")
            self._complaint = None
        finally:
            self._loading = None
            self._loaded_at = asyncio.get_running_loop().time()

    def _complain(self, error: Exception) -> None:
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            logger.error("The routing table stays as it was. %s", complaint, exc_info=error)
        self._complaint = complaint


class Gateway:
    """The ASGI application. `startup()` and `shutdown()` run in the loop that serves it."""

    def __init__(
        self,
        load_table: LoadTable,
        *,
        refresh_seconds: float = 1.0,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._tables = LiveTable(load_table)
        self._refresh_seconds = refresh_seconds
        self._max_body_bytes = max_body_bytes
        self._relay: Relay | None = None
        self._refresher: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        self._relay = Relay()
        await self._tables.refresh()
        self._refresher = asyncio.create_task(self._tables.keep_fresh(self._refresh_seconds))

    async def shutdown(self) -> None:
        if self._refresher is not None:
            await _cancelled(self._refresher)
        await self._tables.close()
        if self._relay is not None:
            await self._relay.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except ClientGoneError:
            logger.debug("The client of request %s left.", exchange.request_id)
        except GatewayError as error:
            await exchange.answer(error.status, error.body(), error.headers())
        except Exception:
            logger.exception("Request %s failed in the gateway.", exchange.request_id)
            if not exchange.started:
                fault = InternalError(exchange.request_id)
                await exchange.answer(fault.status, fault.body())

    async def _answer(self, exchange: Exchange) -> None:
        method, path = exchange.method, exchange.path
        if path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            if method != "GET":
                raise MethodNotAllowedError(method, path, allow="GET")
            await self._answer_models(exchange)
        elif method == "POST" and _is_relayed(path):
            await self._answer_post(exchange)
        elif path in POST_PATHS:
            raise MethodNotAllowedError(method, path, allow="POST")
        else:
            raise NotFoundError(method, path)

    async def _answer_models(self, exchange: Exchange) -> None:
        model_id = exchange.path.removeprefix(MODELS_PATH).removeprefix("/")
        if exchange.path == MODELS_PATH:
            cards = list(_cards(self._tables.current).values())
            await exchange.answer(200, {"object": "list", "data": cards})
            return
        card = _cards(self._tables.current).get(model_id)
        if card is None:
            await self._tables.refresh_if_old()
            card = _cards(self._tables.current).get(model_id)
        if card is None:
            raise ModelNotFoundError(model_id, self._tables.current.names())
        await exchange.answer(200, card)

    async def _answer_post(self, exchange: Exchange) -> None:
        if self._relay is None:
            message = "Gateway.startup() has not run."
            raise RuntimeError(message)
        if not _QUERY.fullmatch(exchange.query):
            message = "The query string holds a character that must be percent-encoded."
            raise InvalidRequestError(message)
        body = await exchange.read_body(self._max_body_bytes)
        field = read_model(body)
        if exchange.path in SAMPLED_PATHS:
            defaults = self._tables.current.defaults(field.preset)
            body, field = with_defaults(body, field, defaults)
        choice = await self._choose(field.value, self._relay)
        await self._relay.relay(
            exchange, body, field, table=self._tables.current, choice=choice
        )

    async def _choose(self, model: str, relay: Relay) -> Choice:
        try:
            return self._tables.current.choose(model, relay.in_flight)
        except NoRouteError:
            await self._tables.refresh_if_old()
        return self._tables.current.choose(model, relay.in_flight)


def _is_relayed(path: str) -> bool:
    return ".." not in path and _RELAYED_PATH.fullmatch(path) is not None


def _cards(table: RoutingTable) -> dict[str, ModelCard]:
    """Return what /v1/models says of each name, `auto` first."""
    cards = {AUTO: _auto_card(table)}
    for route in table.routes.values():
        cards[route.model_id] = {
            "id": route.model_id,
            "object": "model",
            "created": route.created,
            "owned_by": route.owned_by,
            "display_name": route.display_name,
            "kind": route.kind,
            "tier": route.tier,
            "context_length": route.context_length,
            "state": route.state,
        }
    return cards


def _auto_card(table: RoutingTable) -> ModelCard:
    routes = table.auto_routes()
    return {
        "id": AUTO,
        "object": "model",
        "created": max((route.created for route in routes), default=0),
        "owned_by": "magi",
        "display_name": "Auto",
        "kind": "text",
        "tier": None,
        "context_length": None,
        "state": _best_state(routes),
    }


def _best_state(routes: list[Route]) -> str:
    states = {route.state for route in routes}
    return next((state for state in (READY, STARTING) if state in states), STOPPED)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
