"""Clients of /api/events: one that is driven by hand, and a uvicorn for real ones."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from servers_app.gateway.asgi import Message, Receive, Scope, Send

PATIENCE_S = 30.0  # a watchdog, far above what anything takes

Application = Callable[[Scope, Receive, Send], Any]


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


@dataclass
class Client:
    """A client as the ASGI server shows it; it reads only while `reads` is set."""

    reads: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None

    def call(self, application: Application, method: str = "GET", **headers: str) -> None:
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": "/api/events",
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode())
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
