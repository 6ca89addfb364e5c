"""A real engine, and a real gateway in a thread: what the clients of these tests talk to."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from servers_app.gateway.app import Gateway
from servers_app.gateway.live import LoadTable
from servers_app.gateway.routes import READY, Replica, Route, RoutingTable
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # a watchdog, far above what anything takes
PAUSE_S = 0.05
# llama-server looks for a client that left after one second in which no result of any
# request came, and /slots is a request.
IDLE_PAUSE_S = 2.0
ENGINE_KEY = "the-engine's-own-key"

CHAT = "smollm2"
EMBEDDER = "smollm2-embed"
ENDLESS = {"ignore_eos": True, "max_tokens": 8000}  # minutes, if nobody stops it
# Anthropic's messages have no `ignore_eos`. This ends by itself after more than 600 tokens, at
# temperature 0.
LASTING = "Write down the numbers from 1 to 1000, one after the other."
# The engine (b11549) leaves `message_start` out of a stream whose first token is half a
# character, directly as well; at temperature 0 none is.
CERTAIN = {"temperature": 0}


@dataclass(frozen=True, slots=True)
class Engine:
    """llama.cpp's server with SmolLM2, asked without the gateway."""

    url: str
    alias: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        request = urllib.request.Request(  # noqa: S310 - http, to our own engine
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {ENGINE_KEY}",
                "Content-Type": "application/json",  # a form may have 8 KB
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    @property
    def is_idle(self) -> bool:
        """Whether none of its slots works."""
        _status, slots = self.ask("/slots")
        return not any(slot["is_processing"] for slot in slots)

    def replica(self, server_id: int, *, state: str = READY) -> Replica:
        return Replica(server_id, self.url, ENGINE_KEY, self.alias, state)


@contextmanager
def engine(model: Path, log: Path, alias: str, *flags: str) -> Iterator[Engine]:
    """Run an engine on one thread, and end it."""
    port = free_port()
    place = ["--model", str(model), "--alias", alias, "--port", str(port), "--threads", "1"]
    kept = {name: value for name, value in os.environ.items() if "LLAMA" not in name}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "servers_app.engine.embedded", *place, *flags],
            cwd=ROOT,
            env=kept | {"LLAMA_API_KEY": ENGINE_KEY},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    started = Engine(f"http://127.0.0.1:{port}", alias, process)
    try:
        until(lambda: _is_healthy(started, log))
        yield started
    finally:
        started.kill()


def _is_healthy(started: Engine, log: Path) -> bool:
    assert started.process.poll() is None, log.read_text(errors="replace")
    with suppress(OSError):
        return started.ask("/health")[0] == 200
    return False


@contextmanager
def gateway(load: LoadTable) -> Iterator[str]:
    """Serve `/v1` by uvicorn in a thread of its own; give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made = Gateway(load, refresh_seconds=PAUSE_S)
        config = uvicorn.Config(
            made, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)

        async def serve() -> None:
            await made.startup()
            try:
                await server.serve(sockets=[listener])
            finally:
                await made.shutdown()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


def table_of(*routes: Route) -> RoutingTable:
    """Return a table whose requests do not wait for a server."""
    by_id = {route.model_id: route for route in routes}
    return RoutingTable(by_id, profile="clients", queue_wait_seconds=0)


def route_of(model_id: str, *replicas: Replica, kind: str = "text") -> Route:
    return Route(
        model_id=model_id,
        display_name=model_id,
        tier="fast",
        kind=kind,
        context_length=2048,
        created=1_700_000_000,
        owned_by="magi",
        replicas=replicas,
    )


def until(holds: Callable[[], bool], *, pause_s: float = PAUSE_S) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(pause_s)
