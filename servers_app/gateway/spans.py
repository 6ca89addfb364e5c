"""Where a request is traced: what is told of it on its way, and by whom.

The gateway knows no OpenTelemetry; magi_site/telemetry/ gives it what does, where somebody
set it up. Without, a request has no spans, and asks nobody.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers_app.gateway.routes import Choice
    from servers_app.gateway.trace import Trace

Header = tuple[bytes, bytes]


class RequestSpans(Protocol):
    """The spans of one request. Nothing here waits, and nothing raises."""

    def asking(self, choice: "Choice", headers: list[Header], trace: "Trace") -> list[Header]:
        """Note that a server is asked now; return `headers` with the traceparent for it."""

    def lost(self, error: Exception) -> None:
        """Note that it did not answer, so that another may be asked."""

    def end(self, trace: "Trace") -> None:
        """Note that the request is over."""


class Spans(Protocol):
    """Whoever traces requests."""

    def begin(self, headers: "Sequence[Header]", trace: "Trace") -> RequestSpans:
        """Begin to trace a request, as a part of what its traceparent names."""
