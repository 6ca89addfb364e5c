"""A gateway that needs keys, for tests of who may call it."""

import hashlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from servers_app.gateway.access import Caller, Key, Rules
from servers_app.gateway.app import Gateway
from servers_app.gateway.asgi import Exchange
from servers_app.gateway.errors import NotAllowedError
from servers_app.gateway.routes import RoutingTable
from tests.servers_app.gateway.conftest import Stage, serving_gateway, until

CHAT = "/v1/chat/completions"
SECRET = "magi_" + "a1" * 32
OTHER = "magi_" + "b2" * 32
MESSAGES = [{"role": "user", "content": "Hi"}]


def known(*keys: tuple[str, Key]) -> dict[str, Key]:
    return {hashlib.sha256(secret.encode()).hexdigest(): key for secret, key in keys}


def make_key(**fields: Any) -> Key:
    return Key(**{"id": SECRET[:13], "name": "ci", "scopes": frozenset({"infer"}), **fields})


@dataclass
class Counter:
    """A limiter that lets `left` calls in, and counts."""

    left: int = 1_000_000
    hits: list[tuple[str, int]] = field(default_factory=list)

    async def hit(self, key_id: str, per_minute: int) -> float | None:
        self.hits.append((key_id, per_minute))
        self.left -= 1
        return None if self.left >= 0 else 11.2

    async def close(self) -> None:
        pass


@dataclass
class Site:
    """A gateway whose rules and keys a test changes while it runs."""

    stage: Stage
    url: str = ""
    is_open: bool = False
    user: Caller | NotAllowedError | None = None
    limiter: Counter = field(default_factory=Counter)
    used: list[Mapping[str, float]] = field(default_factory=list)

    def rules(self) -> Rules:
        return Rules(lambda: self.is_open, self._by_session, lambda: self.limiter)

    async def show(self, table: RoutingTable, *keys: tuple[str, Key]) -> None:
        """Change what the gateway goes by, and return when it does."""
        self.stage.table = replace(table, keys=known(*keys))
        loads = self.stage.loads
        if self.url:
            await until(lambda: self.stage.loads > loads + 1)

    async def note_keys(self, used: Mapping[str, float]) -> None:
        self.used.append(used)

    async def _by_session(self, exchange: Exchange) -> Caller | None:
        if exchange.header(b"cookie") is None:
            return None
        if isinstance(self.user, NotAllowedError):
            raise self.user
        return self.user


async def open_site(
    stage: Stage, stack: AsyncExitStack, *, refresh_seconds: float = 0.02
) -> Site:
    site = Site(stage)
    gateway = Gateway(
        stage.load,
        replace(stage.control, note_keys=site.note_keys),
        rules=site.rules(),
        refresh_seconds=refresh_seconds,
    )
    await gateway.startup()
    stack.push_async_callback(gateway.shutdown)
    site.url = await stack.enter_async_context(serving_gateway(gateway))
    return site


async def ask(
    client: aiohttp.ClientSession,
    site: Site,
    model: str = "qwen",
    *,
    path: str = CHAT,
    **headers: str,
) -> tuple[int, Any, Mapping[str, str]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"model": model, "messages": MESSAGES}
    async with client.post(site.url + path, json=body, headers=sent) as response:
        return response.status, await response.json(), response.headers


async def listed(client: aiohttp.ClientSession, site: Site, secret: str) -> list[str]:
    headers = {"Authorization": f"Bearer {secret}"}
    async with client.get(f"{site.url}/v1/models", headers=headers) as response:
        assert response.status == 200
        return [card["id"] for card in (await response.json())["data"]]
