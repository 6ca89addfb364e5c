"""Clients of /api/events: one that is driven by hand, and a uvicorn for real ones.

And what happens in Redis meanwhile.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from redis import Redis

from models_app.events import Publisher, stream
from servers_app.gateway.asgi import Message, Receive, Scope, Send

PATIENCE_S = 30.0  # a watchdog, far above what anything takes

Application = Callable[[Scope, Receive, Send], Any]
Connect = Callable[..., "Client"]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.005)


def parse_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and data of each event, as a browser would see them."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line[1:])
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


def numbers_of(text: str) -> list[int | None]:
    """Return what came, by the numbers that `Happening` gives; None is a `lost`."""
    return [data.get("number") for kind, data in parse_events(text) if kind in ("scan", "lost")]


@dataclass
class Client:
    """A client as the ASGI server shows it; it reads only while `reads` is set."""

    reads: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None

    def call(
        self, application: Application, method: str = "GET", query: str = "", **headers: str
    ) -> None:
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": "/api/events",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in {"host": "localhost", **headers}.items()
            ],
        }
        self.reads.set()
        self.task = asyncio.create_task(application(scope, self._receive, self._send))

    @property
    def status(self) -> int | None:
        status: int | None = self.sent[0]["status"] if self.sent else None
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return parse_events(self.text)

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def last_event_id(self) -> str:
        """What a browser would name when it comes back."""
        lines = self.text[: self.text.rindex("\n\n")].split("\n")
        return [line for line in lines if line.startswith("id: ")][-1].removeprefix("id: ")

    @property
    def numbers(self) -> list[int | None]:
        return numbers_of(self.text)

    def has_got(self, number: int) -> bool:
        """Whether the event of that number is the last that came."""
        return self.numbers[-1:] == [number]

    async def until_ended(self) -> None:
        assert self.task is not None
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def leave(self) -> None:
        self.gone.set()
        await self.until_ended()

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.append(message)


class Happening:
    """Events that are published, with a number each, and the Redis they go to."""

    def __init__(self, redis_url: str) -> None:
        self.publisher = Publisher(redis_url)
        self.redis = Redis.from_url(redis_url)
        self.key = stream(redis_url)
        self.count = 0

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.count += 1
            self.publisher.publish("scan", {"number": self.count})

    def ids(self) -> list[str]:
        """Return the ids of the events that Redis keeps, the oldest first."""
        kept: Any = self.redis.xrange(self.key)
        return [event_id.decode() for event_id, _fields in kept]

    def trim(self, count: int) -> None:
        """Leave the newest `count` events in Redis, and no more."""
        self.redis.xtrim(self.key, maxlen=count, approximate=False)

    def readers(self) -> list[str]:
        """Return the ids of the connections that anybody but this one has to Redis."""
        ours = {self.redis.client_id(), self.publisher._redis.client_id()}
        found = self.redis.client_list()
        return [client["id"] for client in found if int(client["id"]) not in ours]

    def cut(self) -> None:
        """Close all of those."""
        for client_id in self.readers():
            self.redis.client_kill_filter(_id=client_id)

    def close(self) -> None:
        self.publisher.close()
        self.redis.close()


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """Run `application` under a real uvicorn; give its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            application, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
