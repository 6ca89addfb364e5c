"""A gateway under a real uvicorn, stand-ins for llama-server, and a table that changes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from servers_app.gateway.app import Gateway
from servers_app.gateway.control import NO_CONTROL, Control
from servers_app.gateway.http1 import Timeouts
from servers_app.gateway.live import LoadTable
from servers_app.gateway.pool import Pool
from servers_app.gateway.relay import DEFAULT_TIMEOUTS
from servers_app.gateway.routes import Replica, Route, RoutingTable
from servers_app.gateway.trace import Trace
from tests.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENCE_S = 60.0  # for what happens in milliseconds, on a machine that is busy
LONG_S = 3600.0


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
        control: Control = NO_CONTROL,
        *,
        refresh_seconds: float = 3600,
        max_body_bytes: int = 2**20,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        keep_prompts: bool = False,
    ) -> str: ...


def make_replica(
    url: str,
    *,
    server_id: int = 1,
    state: str = "ready",
    on_request: bool = False,
    failure: str = "",
) -> Replica:
    return Replica(
        server_id=server_id,
        base_url=url,
        api_key=f"server-key-{server_id}",
        upstream_model=f"alias-{server_id}",
        state=state,
        on_request=on_request,
        failure=failure,
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


def make_table(*routes: Route, queue_wait_seconds: float = 0) -> RoutingTable:
    """Return a table whose requests do not wait, unless told to."""
    by_id = {route.model_id: route for route in routes}
    return RoutingTable(by_id, profile="test", queue_wait_seconds=queue_wait_seconds)


async def _agree(_server_id: int) -> None:
    pass


@dataclass(slots=True)
class Stage:
    """What the gateway is told, and what it asks for.

    `on_demand` and `on_look` are what becomes of it.
    """

    table: RoutingTable = field(default_factory=make_table)
    loads: int = 0
    demanded: list[int] = field(default_factory=list)
    looked_at: list[int] = field(default_factory=list)
    used: list[set[int]] = field(default_factory=list)
    recorded: list[Trace] = field(default_factory=list)
    on_demand: Callable[[int], Awaitable[None]] = _agree
    on_look: Callable[[int], Awaitable[None]] = _agree

    def show(self, *replicas: Replica, wait_s: float = LONG_S) -> None:
        """Have the model `qwen` with these replicas, and no other."""
        self.show_routes(make_route("qwen", *replicas), wait_s=wait_s)

    def show_routes(self, *routes: Route, wait_s: float = LONG_S) -> None:
        self.table = make_table(*routes, queue_wait_seconds=wait_s)

    def starts(self, url: str, *, server_id: int = 1) -> None:
        """Have a demand make the server ready at once."""

        async def start(_server_id: int) -> None:
            self.show(make_replica(url, server_id=server_id))

        self.on_demand = start

    async def load(self) -> RoutingTable:
        self.loads += 1
        return self.table

    @property
    def control(self) -> Control:
        return Control(
            demand=self._demand,
            look_at=self._look_at,
            note_use=self._note_use,
            record=self._record,
        )

    async def _demand(self, server_id: int) -> None:
        self.demanded.append(server_id)
        await self.on_demand(server_id)

    async def _look_at(self, server_id: int) -> None:
        self.looked_at.append(server_id)
        await self.on_look(server_id)

    async def _record(self, traces: Sequence[Trace]) -> None:
        self.recorded += traces

    async def _note_use(self, server_ids: Collection[int]) -> None:
        self.used.append(set(server_ids))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def refused_url() -> str:
    """Return an address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


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
        control: Control = NO_CONTROL,
        *,
        refresh_seconds: float = 3600,
        max_body_bytes: int = 2**20,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        keep_prompts: bool = False,
    ) -> str:
        async def load() -> RoutingTable:
            return table if isinstance(table, RoutingTable) else await table()

        gateway = Gateway(
            load,
            control,
            refresh_seconds=refresh_seconds,
            max_body_bytes=max_body_bytes,
            timeouts=timeouts,
            keep_prompts=keep_prompts,
        )
        await gateway.startup()
        stack.push_async_callback(gateway.shutdown)
        return await stack.enter_async_context(serving_gateway(gateway))

    return make


@asynccontextmanager
async def serving_gateway(gateway: Gateway) -> AsyncIterator[str]:
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


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(Timeouts(first_byte_s=PATIENCE_S, idle_s=PATIENCE_S))
    yield pool
    pool.close()
    await asyncio.sleep(0)
