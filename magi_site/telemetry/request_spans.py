"""The spans of a request to /v1: itself, its score, the choice of a server, those asked.

What was measured on the way is made spans of when it is over: a request waits for none.
No span has a prompt, a key, or a name that a client made up.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from servers_app.gateway.app import POST_PATHS
from servers_app.gateway.routes import Choice
from servers_app.gateway.spans import Header
from servers_app.gateway.trace import Outcome, Trace

OTHER_PATH: Final = "/v1/*"  # of a name that is in every trace there are few
_FAILED: Final = (Outcome.FAILED, Outcome.BROKEN)


class TracedRequests:
    """`Spans`, by OpenTelemetry."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, headers: Sequence[Header], trace: Trace) -> "TracedRequest":
        fields = propagate.get_global_textmap().fields
        told = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        parent = propagate.extract({name: value for name, value in told if name in fields})
        path = trace.path if trace.path in POST_PATHS else OTHER_PATH
        span = self._tracer.start_span(
            f"POST {path}",
            parent,
            kind=SpanKind.SERVER,
            start_time=_ns(trace.started_at),
            attributes={
                "http.request.method": "POST",
                "http.route": path,
                "magi.request_id": trace.request_id,
            },
        )
        return TracedRequest(self._tracer, span, parent)


class TracedRequest:
    """`RequestSpans` of one request, by OpenTelemetry."""

    __slots__ = ("_asked", "_context", "_has_chosen", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, parent: Context) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, parent)
        self._asked: Span | None = None  # of the server that is asked now
        self._has_chosen = False
        # The request has a task of its own, and this with it: what it has queued is a part.
        contexts.attach(self._context)

    def asking(self, choice: Choice, headers: list[Header], trace: Trace) -> list[Header]:
        if not self._has_chosen:
            self._has_chosen = True
            self._note_choice(trace)
        place = urlsplit(choice.replica.base_url)
        self._asked = self._tracer.start_span(
            "ask llama-server",
            self._context,
            kind=SpanKind.CLIENT,
            start_time=_ns(trace.started_at + trace.elapsed_s()),
            attributes={
                "server.address": place.hostname or "",
                "server.port": place.port or 0,
                "gen_ai.request.model": choice.route.model_id,
                "magi.server_id": choice.replica.server_id,
            },
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, set_span_in_context(self._asked, self._context))
        # Those of the client name its own span: the server's parent is ours.
        fields = {name.encode() for name in propagate.get_global_textmap().fields}
        kept = [header for header in headers if header[0] not in fields]
        return kept + [(name.encode(), value.encode()) for name, value in carrier.items()]

    def lost(self, error: Exception) -> None:
        if self._asked is not None:
            self._asked.set_status(Status(StatusCode.ERROR, type(error).__name__))
            self._asked.end()
            self._asked = None

    def end(self, trace: Trace) -> None:
        if not self._has_chosen:
            self._note_choice(trace)
        over = _ns(trace.started_at + (trace.total_s or trace.elapsed_s()))
        is_failed = trace.outcome in _FAILED
        asked, self._asked = self._asked, None
        if asked is not None:
            if trace.first_byte_s is not None:
                first = _ns(trace.started_at + trace.first_byte_s)
                asked.add_event("first byte", timestamp=first)
            if is_failed:
                asked.set_status(Status(StatusCode.ERROR, trace.error_code))
            asked.end(over)
        for name, value in _figures(trace).items():
            self._span.set_attribute(name, value)
        if is_failed:
            self._span.set_status(Status(StatusCode.ERROR, trace.error_code))
        self._span.end(over)

    def _note_choice(self, trace: Trace) -> None:
        """Make spans of what came before a server was asked: scoring, and waiting."""
        if trace.scored_s is not None:
            began_s, ended_s = trace.scored_s
            self._past("score", trace, began_s, ended_s)
        now_s = trace.elapsed_s()
        self._past("choose a server", trace, now_s - trace.queued_s, now_s)

    def _past(self, name: str, trace: Trace, began_s: float, ended_s: float) -> None:
        span = self._tracer.start_span(
            name, self._context, start_time=_ns(trace.started_at + began_s)
        )
        span.end(_ns(trace.started_at + ended_s))


def _figures(trace: Trace) -> dict[str, str | int | float]:
    figures: dict[str, str | int | float | None] = {
        "http.response.status_code": trace.status or None,
        "error.type": trace.error_code or None,
        "gen_ai.response.model": trace.model_id or None,
        "gen_ai.usage.input_tokens": trace.prompt_tokens,
        "gen_ai.usage.output_tokens": trace.completion_tokens,
        "magi.cached_tokens": trace.cached_tokens,
        "magi.tier": trace.tier or None,
        "magi.score": trace.score,
        "magi.scored_by": trace.scored_by or None,
        "magi.server_id": trace.server_id,
        "magi.queued_s": trace.queued_s,
        "magi.retries": trace.retries or None,
        "magi.outcome": str(trace.outcome),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
