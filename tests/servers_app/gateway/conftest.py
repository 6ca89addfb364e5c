"""A gateway under a real uvicorn, and servers that stand in for llama-server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from servers_app.gateway.app import Gateway, LoadTable
from servers_app.gateway.routes import Replica, Route, RoutingTable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENCE_S = 10.0  # for what happens in milliseconds, on a machine that is busy


@dataclass(frozen=True, slots=True)
class Received:
    path_qs: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(slots=True)
class Upstream:
    """A stand-in llama-server, what it was sent, and whether its caller hung up."""

    url: str
    received: list[Received] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


class MakeUpstream(Protocol):
    async def __call__(self, handler: Handler | None = None) -> Upstream: ...


class MakeGateway(Protocol):
    async def __call__(
        self,
        table: RoutingTable | LoadTable,
        *,
        refresh_seconds: float = 3600,
        max_body_bytes: int = 2**20,
    ) -> str: ...


def make_replica(url: str, *, server_id: int = 1, state: str = "ready") -> Replica:
    return Replica(
        server_id=server_id,
        base_url=url,
        api_key=f"server-key-{server_id}",
        upstream_model=f"alias-{server_id}",
        state=state,
    )


def make_route(
    model_id: str, *replicas: Replica, kind: str = "text", tier: str | None = "fast"
) -> Route:
    return Route(
        model_id=model_id,
        display_name=model_id.upper(),
        tier=tier,
        kind=kind,
        context_length=4096,
        created=1_700_000_000,
        owned_by="magi",
        replicas=replicas,
    )


def make_table(*routes: Route) -> RoutingTable:
    return RoutingTable({route.model_id: route for route in routes}, profile="test")


def refused_url() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.005)


async def say_hello(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"model": "alias-1", "choices": [{"text": "Hello"}]})


async def never_answer(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def make_upstream(stack: AsyncExitStack) -> MakeUpstream:
    async def make(handler: Handler | None = None) -> Upstream:
        upstream = Upstream(url="")

        async def record(request: web.Request) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            upstream.received.append(Received(request.path_qs, headers, await request.read()))
            try:
                return await (handler or say_hello)(request)
            except asyncio.CancelledError:
                upstream.hung_up.set()
                raise

        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", record)
        runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return upstream

    return make


@pytest.fixture
def make_gateway(stack: AsyncExitStack) -> MakeGateway:
    async def make(
        table: RoutingTable | LoadTable,
        *,
        refresh_seconds: float = 3600,
        max_body_bytes: int = 2**20,
    ) -> str:
        async def load() -> RoutingTable:
            return table if isinstance(table, RoutingTable) else await table()

        gateway = Gateway(load, refresh_seconds=refresh_seconds, max_body_bytes=max_body_bytes)
        await gateway.startup()
        stack.push_async_callback(gateway.shutdown)
        return await stack.enter_async_context(_serving(gateway))

    return make


@asynccontextmanager
async def _serving(gateway: Gateway) -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            gateway, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    patience = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=patience) as session:
        yield session
