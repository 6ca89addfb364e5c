"""The gateway: one OpenAI-compatible address for every enabled model.

A plain ASGI application for the paths under /v1/. It holds a routing table that a
background task refreshes, so a request that a ready server takes waits for no database.
"""

import asyncio
import logging
import re
from typing import Final, TypedDict

from servers_app.gateway.asgi import Exchange, Receive, Scope, Send
from servers_app.gateway.background import cancelled
from servers_app.gateway.bodies import read_model, with_defaults
from servers_app.gateway.control import NO_CONTROL, Control
from servers_app.gateway.errors import (
    ClientGoneError,
    GatewayError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NotFoundError,
)
from servers_app.gateway.live import LiveTable, LoadTable
from servers_app.gateway.relay import Relay
from servers_app.gateway.routes import AUTO, READY, STARTING, STOPPED, Route, RoutingTable
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


class Gateway:
    """The ASGI application. `startup()` and `shutdown()` run in the loop that serves it."""

    def __init__(
        self,
        load_table: LoadTable,
        control: Control = NO_CONTROL,
        *,
        refresh_seconds: float = 1.0,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """Take what gives the table, and what is asked for beside it; without, nothing is."""
        self._tables = LiveTable(load_table)
        self._usage = Usage(control.note_use)
        self._finder = Finder(self._tables, self._usage, control)
        self._refresh_seconds = refresh_seconds
        self._max_body_bytes = max_body_bytes
        self._relay: Relay | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self) -> None:
        self._relay = Relay(self._usage, self._finder.lose)
        await self._tables.refresh()
        self._tasks = [
            asyncio.create_task(self._tables.keep_fresh(self._refresh_seconds)),
            asyncio.create_task(self._usage.keep_noted()),
        ]

    async def shutdown(self) -> None:
        for task in self._tasks:
            await cancelled(task)
        await self._finder.close()
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
        search = self._finder.search(field.value)
        await self._relay.relay(exchange, body, field, search)


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
