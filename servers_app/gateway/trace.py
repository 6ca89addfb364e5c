"""What is known of one request: filled in on its way, written down when it is over."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from servers_app.gateway.spans import RequestSpans


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"  # its answer came whole
    REFUSED = "refused"  # by us, or by llama-server as a bad request: 4xx
    FAILED = "failed"  # no server could answer: 5xx
    BROKEN = "broken"  # the server went away in the middle of the answer
    CLIENT_GONE = "client_gone"


@dataclass(slots=True)
class Trace:
    """One request. Spans are in seconds of the monotonic clock, from its first byte."""

    request_id: str
    path: str
    started_at: float = field(default_factory=time.time)  # unix seconds
    started: float = field(default_factory=time.monotonic)
    key: str = ""  # who asks: what their API key begins with, or else a user or an address
    asked: str = ""  # the model as the client named it
    preset: str = ""
    is_stream: bool = False
    model_id: str = ""  # the model that answered
    server_id: int | None = None
    tier: str = ""
    reason: str = ""  # why it is of another tier than the request's, in a sentence
    score: float | None = None  # of its complexity, 0 to 10
    factors: Mapping[str, float] = field(default_factory=dict)  # what made the score
    scored_by: str = ""  # heuristic, embedding or decision
    prompt: str = ""  # what was asked last; written down only where MAGI_KEEP_PROMPTS is on
    queued_s: float = 0.0  # until a server had a slot for it
    first_byte_s: float | None = None
    total_s: float | None = None
    status: int = 0
    outcome: Outcome = Outcome.FAILED
    error_code: str = ""
    prompt_tokens: int | None = None  # with the cached ones
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    retries: int = 0  # servers that it was given to and that did not answer
    scored_s: tuple[float, float] | None = None  # from when until when; None where it is not
    spans: RequestSpans | None = field(default=None, repr=False)  # where it is traced

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started
