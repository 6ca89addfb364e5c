"""Ask a llama-server for what can be measured: llama.cpp's own timings, and our clock beside.

Each call is one streamed answer of `/completion` to a prompt of as many tokens as asked for,
none of it from a cache, always as long as asked for. What is told of tokens per second are
llama.cpp's `timings`; the first token, and how long it all took, are by our clock.
"""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from servers_app.bench.running import Target
from servers_app.errors import BenchmarkCancelledError, BenchmarkError
from servers_app.printable import printable

SILENCE_S: Final = 1800.0  # a long prompt is worked on without a word
MAX_SAID_CHARS: Final = 300
MAX_TOKENIZED_BYTES: Final = 2**20
MAX_ERROR_BYTES: Final = 64 * 1024
# What the prompts are made of; a model's speed hardly depends on what it reads.
TEXT: Final = (
    "The harbour master wrote down each ship that came in, its cargo, and the weather of the "
    "day. In the evening she read the figures again, compared them with those of last year, "
    "and noted what had changed: more grain, less timber, and storms that came earlier. "
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. Milliseconds and rates are llama.cpp's own, but for the last two figures."""

    prompt_tokens: int
    prompt_ms: float
    prompt_tokens_per_s: float
    generated_tokens: int
    generation_ms: float
    generation_tokens_per_s: float
    first_token_ms: float  # since the request was sent, by our clock
    total_ms: float

    def as_json(self) -> dict[str, Any]:
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Together:
    """What several clients got who asked at once."""

    samples: tuple[Sample, ...]
    seconds: float  # from the first request to the last answer

    @property
    def tokens_per_s(self) -> float:
        """Of all clients together: what was generated, over the whole time."""
        return sum(sample.generated_tokens for sample in self.samples) / self.seconds


class Stop:
    """Ends measurements from another thread: what is waited for is cut at once."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()

    def set(self) -> None:
        with self._lock:
            self._is_set.set()
            for connection in self._open:
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(2)  # both ways: who reads is woken

    def is_set(self) -> bool:
        return self._is_set.is_set()

    @contextmanager
    def watching(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        with self._lock:
            if self._is_set.is_set():
                raise BenchmarkCancelledError
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)


def prompt_of(target: Target, tokens: int, *, stop: Stop, start: int = 0) -> list[int]:
    """Return a prompt of exactly so many tokens of the target's own.

    Args:
        start: prompts of several clients differ by it.

    Raises:
        BenchmarkError: it cannot make tokens of a text.
    """
    body = json.dumps({"content": TEXT, "add_special": False})
    with _asked(target, "/tokenize", body, stop) as response:
        raw = response.read(MAX_TOKENIZED_BYTES)
    try:
        found: list[int] = json.loads(raw)["tokens"]
    except (ValueError, KeyError, TypeError) as error:
        msg = "llama-server did not make tokens of a text. Use a newer build."
        raise BenchmarkError(msg) from error
    if not found:
        msg = "The model makes no tokens of a text, so nothing can be measured."
        raise BenchmarkError(msg)
    return [found[(start + place) % len(found)] for place in range(tokens)]


def measure(target: Target, prompt: Sequence[int], tokens: int, *, stop: Stop) -> Sample:
    """Send a prompt, and have `tokens` tokens generated after it.

    Raises:
        BenchmarkError: it did not answer as it should.
        BenchmarkCancelledError: `stop` was set.
    """
    body = json.dumps(
        {
            "prompt": list(prompt),
            "n_predict": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
        }
    )
    began = time.perf_counter()
    first: float | None = None
    with _asked(target, "/completion", body, stop) as response:
        for event in _events(response):
            if "error" in event:
                raise BenchmarkError(_refusal(json.dumps(event)))
            if first is None and not event.get("stop"):
                first = time.perf_counter()
            if event.get("stop"):
                ended = time.perf_counter()
                return _sample(event, (first or ended) - began, ended - began)
        msg = "llama-server ended its answer before it was whole."
        raise BenchmarkError(msg)


def measure_prompt(target: Target, context: int, *, stop: Stop | None = None) -> Sample:
    """Measure how fast a prompt of `context` tokens is read; one token is generated."""
    stop = stop or Stop()
    return measure(target, prompt_of(target, context, stop=stop), 1, stop=stop)


def measure_generation(
    target: Target, tokens: int, *, context: int = 128, stop: Stop | None = None
) -> Sample:
    """Measure how fast `tokens` tokens are generated after a prompt of `context` tokens."""
    stop = stop or Stop()
    return measure(target, prompt_of(target, context, stop=stop), tokens, stop=stop)


def measure_together(
    target: Target, clients: int, context: int, tokens: int, *, stop: Stop
) -> Together:
    """Have `clients` ask at once, each for its own answer.

    Raises: as `measure`.
    """
    prompts = [
        prompt_of(target, context, stop=stop, start=client + 1) for client in range(clients)
    ]
    ready = threading.Barrier(clients + 1)

    def ask(prompt: Sequence[int]) -> Sample:
        ready.wait()
        return measure(target, prompt, tokens, stop=stop)

    with ThreadPoolExecutor(clients, thread_name_prefix="bench-client") as pool:
        answers = [pool.submit(ask, prompt) for prompt in prompts]
        ready.wait()
        began = time.perf_counter()
        samples = tuple(answer.result() for answer in answers)
        return Together(samples, time.perf_counter() - began)


@contextmanager
def _asked(
    target: Target, path: str, body: str, stop: Stop
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=SILENCE_S)
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    try:
        with stop.watching(connection):
            connection.request("POST", path, body=body, headers=headers)
            yield _accepted(connection.getresponse())
    except BenchmarkCancelledError:
        raise
    except BenchmarkError as error:
        if stop.is_set():  # what was shut down looks like an answer that has ended
            raise BenchmarkCancelledError from error
        raise
    except (OSError, http.client.HTTPException) as error:
        if stop.is_set():
            raise BenchmarkCancelledError from error
        msg = f"llama-server has gone while it was measured ({type(error).__name__})."
        raise BenchmarkError(msg) from error
    finally:
        connection.close()


def _accepted(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status != http.HTTPStatus.OK:
        said = response.read(MAX_ERROR_BYTES).decode(errors="replace")
        raise BenchmarkError(_refusal(said))
    return response


def _events(response: http.client.HTTPResponse) -> Iterator[Mapping[str, Any]]:
    for line in response:
        if line.startswith((b"data:", b"error:")):
            text = line.partition(b":")[2].strip()
            if text == b"[DONE]":
                return
            try:
                event = json.loads(text)
            except ValueError as error:
                msg = "llama-server's answer cannot be read."
                raise BenchmarkError(msg) from error
            if isinstance(event, dict):
                yield {"error": event} if line.startswith(b"error:") else event


def _sample(event: Mapping[str, Any], first_s: float, total_s: float) -> Sample:
    try:
        timings = event["timings"]
        return Sample(
            prompt_tokens=int(timings["prompt_n"]),
            prompt_ms=float(timings["prompt_ms"]),
            prompt_tokens_per_s=float(timings["prompt_per_second"]),
            generated_tokens=int(timings["predicted_n"]),
            generation_ms=float(timings["predicted_ms"]),
            generation_tokens_per_s=float(timings["predicted_per_second"]),
            first_token_ms=1000 * first_s,
            total_ms=1000 * total_s,
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = "This llama-server tells no timings. Use a newer build."
        raise BenchmarkError(msg) from error


def _refusal(said: str) -> str:
    try:
        error = json.loads(said)["error"]
        said = str(error.get("message", said)) if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        pass
    return f"llama-server refused a prompt: {printable(said, MAX_SAID_CHARS)}."
