"""What is asked of a llama-server, and what becomes of answers that are none."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from servers_app.bench import measuring
from servers_app.bench.measuring import Stop, measure, measure_together, prompt_of
from servers_app.bench.running import Target
from servers_app.errors import BenchmarkCancelledError, BenchmarkError
from servers_app.processes import ProcessIdentity

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]

TIMINGS = {
    "prompt_n": 3,
    "prompt_ms": 30.0,
    "prompt_per_second": 100.0,
    "predicted_n": 2,
    "predicted_ms": 100.0,
    "predicted_per_second": 20.0,
}


def say(handler: BaseHTTPRequestHandler, text: str, status: int = 200) -> None:
    handler.send_response(status)
    handler.end_headers()
    handler.wfile.write(text.encode())


def stream(*events: object) -> str:
    return "".join(f": ping\n\ndata: {json.dumps(event)}\n\n" for event in events)


@contextmanager
def serving(answer: Answer) -> Iterator[Target]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            answer(self, json.loads(self.rfile.read(length)))

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Target(
            model_path="m.gguf",
            port=server.server_port,
            key="secret",
            host="127.0.0.1",
            build="",
            settings={},
            context=512,
            slots=1,
            process=ProcessIdentity(1, 0.0, ""),
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sample_is_llama_cpps_timings_and_our_clock_beside() -> None:
    asked: list[dict[str, Any]] = []

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        asked.append({**body, "key": handler.headers["Authorization"]})
        say(
            handler, stream({"content": "a"}, {"content": "", "stop": True, "timings": TIMINGS})
        )

    with serving(answer) as target:
        sample = measure(target, [1, 2, 3], 2, stop=Stop())

    assert asked == [
        {
            "prompt": [1, 2, 3],
            "n_predict": 2,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
            "key": "Bearer secret",
        }
    ]
    assert (sample.prompt_tokens, sample.generated_tokens) == (3, 2)
    assert (sample.prompt_tokens_per_s, sample.generation_tokens_per_s) == (100.0, 20.0)
    assert 0 < sample.first_token_ms <= sample.total_ms


def test_a_prompt_has_as_many_tokens_as_asked_for() -> None:
    with serving(lambda handler, _: say(handler, '{"tokens": [5, 6, 7]}')) as target:
        assert prompt_of(target, 7, stop=Stop()) == [5, 6, 7, 5, 6, 7, 5]
        assert prompt_of(target, 2, stop=Stop(), start=1) == [6, 7]


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        pytest.param(400, '{"error": {"message": "too long"}}', "too long", id="refused"),
        pytest.param(500, "<html>", "<html>", id="an error that is no JSON"),
        pytest.param(200, stream({"content": "a"}), "before it was whole", id="cut"),
        pytest.param(200, "data: {\n\n", "cannot be read", id="no JSON"),
        pytest.param(200, stream({"stop": True}), "tells no timings", id="no timings"),
        pytest.param(
            200, stream({"error": {"message": "boom"}}), "boom", id="an error in the stream"
        ),
    ],
)
def test_an_answer_that_is_none_is_said_so(status: int, text: str, expected: str) -> None:
    with (
        serving(lambda handler, _: say(handler, text, status)) as target,
        pytest.raises(BenchmarkError, match=expected),
    ):
        measure(target, [1], 1, stop=Stop())


@pytest.mark.parametrize("text", ["[]", '{"tokens": []}', "nothing"])
def test_a_server_that_makes_no_tokens_is_said_so(text: str) -> None:
    with (
        serving(lambda handler, _: say(handler, text)) as target,
        pytest.raises(BenchmarkError, match="tokens"),
    ):
        prompt_of(target, 3, stop=Stop())


def test_nobody_at_the_port_is_said_so() -> None:
    with serving(lambda *_: None) as target:
        gone = target
    with pytest.raises(BenchmarkError, match="has gone"):
        measure(gone, [1], 1, stop=Stop())


def test_a_measurement_that_waits_for_an_answer_is_cut_at_once() -> None:
    stop, reached = Stop(), threading.Event()

    def never(_handler: BaseHTTPRequestHandler, _body: dict[str, Any]) -> None:
        reached.set()
        time.sleep(2)

    def cancel() -> None:
        reached.wait()
        stop.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with serving(never) as target, pytest.raises(BenchmarkCancelledError):
        measure(target, [1], 1, stop=stop)
    canceller.join()

    with pytest.raises(BenchmarkCancelledError):  # and nothing is asked afterwards
        measure(target, [1], 1, stop=stop)


def test_several_clients_ask_at_once() -> None:
    together = threading.Barrier(3)

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if "content" in body:
            say(handler, '{"tokens": [1, 2, 3]}')
            return
        together.wait(timeout=30)  # none is answered before all have asked
        say(handler, stream({"content": "", "stop": True, "timings": TIMINGS}))

    with serving(answer) as target:
        found = measure_together(target, 3, 3, 2, stop=Stop())

    assert len(found.samples) == 3
    assert found.tokens_per_s == pytest.approx(6 / found.seconds)


def test_what_is_measured_alone_needs_no_prompt() -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if "content" in body:
            say(handler, '{"tokens": [1]}')
        else:
            timings = {**TIMINGS, "prompt_n": len(body["prompt"])}
            timings["predicted_n"] = body["n_predict"]
            say(handler, stream({"stop": True, "timings": timings}))

    with serving(answer) as target:
        assert measuring.measure_prompt(target, 9).prompt_tokens == 9
        assert measuring.measure_generation(target, 4).generated_tokens == 4
