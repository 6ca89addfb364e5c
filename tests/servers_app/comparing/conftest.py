"""A llama-server to compare with: a real socket, which answers as the real one does."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_app.models import DiscoveredModel
from servers_app.keys import server_key
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer


@dataclass
class Engine:
    """What it was asked, and how it answers."""

    port: int
    keys: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    on_ask: Callable[[dict[str, Any]], None] = lambda _body: None
    mode: str = "answer"


@pytest.fixture
def engine() -> Iterator[Engine]:
    said: list[Engine] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            engine = said[0]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            engine.asked.append(body)
            engine.on_ask(body)
            if self.headers["Authorization"].removeprefix("Bearer ") not in engine.keys:
                self._whole(401, {"error": {"message": "Invalid API Key"}})
            elif engine.mode == "refuse":
                self._whole(500, {"error": {"message": "context size exceeded"}})
            elif self.path == "/v1/embeddings":
                rows = [
                    {"index": place, "embedding": [1.0, float(len(text) % 7)]}
                    for place, text in enumerate(body["input"])
                ]
                self._whole(200, {"data": rows, "usage": {"prompt_tokens": 9}})
            else:
                self._stream(engine, body)

        def _stream(self, engine: Engine, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            words = ["An", " answer", " to: ", str(body["messages"][-1]["content"])[:200], "\0"]
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
            deltas += [{"reasoning_content": "Hm."}, *({"content": word} for word in words)]
            for delta in deltas:
                self._event({"choices": [{"delta": delta, "finish_reason": None}]})
            if engine.mode == "break off":
                return
            self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            usage = {"prompt_tokens": 5, "completion_tokens": 4}
            timings = {"predicted_per_second": 12.5, "predicted_n": 4}
            self._event({"choices": [], "usage": usage, "timings": timings})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

        def _whole(self, status: int, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        said.append(Engine(server.server_address[1]))
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield said[0]
        server.shutdown()
        serving.join()


@pytest.fixture
def pair(
    engine: Engine,
    make_model: MakeModel,
    make_server: MakeServer,
    settings: Settings,
    tmp_path: Path,
) -> tuple[DiscoveredModel, DiscoveredModel]:
    """Two models that run: both at the same socket, each with a key of its own."""
    settings.MAGI_DATA_DIR = tmp_path
    settings.MAGI_RUN_DIR = tmp_path / "run"
    models = make_model("ada"), make_model("bob")
    for node, model in zip(("local", "far"), models, strict=True):  # a port is one server's
        server = make_server(
            model,
            node=node,
            state=ServerState.READY,
            wanted=Wanted.RUNNING,
            port=engine.port,
        )
        engine.keys.add(server_key(server.pk))
    assert Server.objects.count() == 2
    return models


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the queue's place; return the comparisons that are queued."""
    numbers: list[int] = []

    def enqueue(_task: object, number: int, **_options: Any) -> None:
        numbers.append(number)

    monkeypatch.setattr("servers_app.comparing.service.enqueue", enqueue)
    return numbers
