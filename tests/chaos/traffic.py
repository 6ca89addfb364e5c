"""Clients that ask without a pause, and what came of each request."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 120  # a watchdog
HEADERS = {"Content-Type": "application/json"}


@dataclass
class Traffic:
    """Requests to one gateway, by several clients at once, until it is stopped.

    A request is whole, or a clean error: an HTTP status with OpenAI's error body, an error
    event in a stream, or a connection that was cut, which every client notices. What is
    neither is in `broken`: an answer that looks whole and is not.
    """

    base_url: str
    model: str
    seed: int
    clients: int = 3
    others: tuple[str, ...] = ()  # further models that are asked for, `auto` or a tier
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    history: list[tuple[float, float, str]] = field(default_factory=list)
    """When each began and ended, by the monotonic clock, and what came of it."""

    def __post_init__(self) -> None:
        self._is_stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(random.Random(self.seed + number),))
            for number in range(self.clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        assert not any(thread.is_alive() for thread in self._threads), "a request never ended"

    def _ask_on(self, chance: random.Random) -> None:
        while not self._is_stopped.is_set():
            began = time.monotonic()
            outcome = self.ask(
                is_streamed=chance.random() < 0.5,
                tokens=chance.randint(1, 40),
                model=chance.choice((self.model, *self.others)),
            )
            self.outcomes[outcome] += 1
            self.history.append((began, time.monotonic(), outcome))
            if outcome not in ("whole", "cut"):
                self._is_stopped.wait(0.2)

    def ask(self, *, is_streamed: bool, tokens: int, model: str = "") -> str:
        """Send one request; return `whole`, `cut`, `refused`, or the status of its error."""
        place = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            place.hostname or "", place.port, timeout=TIMEOUT_S
        )
        body = {
            "model": model or self.model,
            "messages": [{"role": "user", "content": "Tell me of the sea."}],
            "max_tokens": tokens,
            "stream": is_streamed,
        }
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), HEADERS)
            answer = connection.getresponse()
        except ConnectionRefusedError:
            return "refused"
        except (OSError, http.client.HTTPException):
            return "cut"
        try:
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return "cut"
        finally:
            connection.close()
        return self._judge(answer.status, text, is_streamed=is_streamed)

    def _judge(self, status: int, text: str, *, is_streamed: bool) -> str:
        try:
            if status != http.HTTPStatus.OK:
                assert json.loads(text)["error"]["message"]
                return str(status)
            if not is_streamed:
                assert json.loads(text)["choices"][0]["finish_reason"]
                return "whole"
            events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
            if events[-1] == "[DONE]":
                return "whole"
            assert json.loads(events[-1])["error"]["message"]
        except (AssertionError, ValueError, LookupError, TypeError) as error:
            self.broken.append(f"{status}, {error!r}: {text[-500:]}")
            return "broken"
        return "error event"
