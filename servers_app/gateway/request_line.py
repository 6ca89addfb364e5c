"""One line in the log for each request that is over."""

import logging
from typing import Any, Final

from servers_app.gateway.asgi import Exchange
from servers_app.printable import printable

logger = logging.getLogger(__name__)

MAX_PATH_CHARS: Final = 100


class RequestLine:
    """Writes the lines. What a client asked for is in none of them, nor who it is.

    The message is for people; the same is in the record's `fields` for those who take JSON.
    """

    def write(self, exchange: Exchange) -> None:
        """Write the line of a request that is over. Raises nothing."""
        if not logger.isEnabledFor(logging.INFO):
            return
        fields = _fields(exchange)
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        logger.info("request %s %s", exchange.request_id, told, extra={"fields": fields})


def _fields(exchange: Exchange) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "method": exchange.method,
        "path": printable(exchange.path, MAX_PATH_CHARS),
        "status": exchange.status,
    }
    trace = exchange.trace
    if trace is None:
        return fields
    known = {
        "model": trace.model_id or None,
        "tier": trace.tier or None,
        "server_id": trace.server_id,
        "prompt_tokens": trace.prompt_tokens,
        "cached_tokens": trace.cached_tokens,
        "completion_tokens": trace.completion_tokens,
        "error_code": trace.error_code or None,
    }
    fields |= {name: value for name, value in known.items() if value is not None}
    if trace.retries:
        fields["retries"] = trace.retries
    return fields | {
        "outcome": str(trace.outcome),
        "queued_ms": round(trace.queued_s * 1000, 1),
        "ms": round((trace.total_s or 0.0) * 1000, 1),
    }
