"""Which headers pass between a client and a llama-server."""

from collections.abc import Iterable
from typing import Final

from servers_app.gateway.trace import Trace

Header = tuple[bytes, bytes]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# Credentials and what a browser adds are the gateway's business. X-Conversation-Id
# would have llama-server go on generating for a client that left. X-Request-Id is sent as
# the gateway has it.
REQUEST_ONLY: Final = HOP_BY_HOP | {
    b"accept-encoding", b"authorization", b"content-length", b"cookie", b"expect", b"host",
    b"origin", b"referer", b"x-api-key", b"x-conversation-id", b"x-csrftoken",
    b"x-request-id",
}  # fmt: skip
# What a browser would take for a word of MAGI's own origin is not a llama-server's to say.
RESPONSE_ONLY: Final = HOP_BY_HOP | {
    b"alt-svc", b"clear-site-data", b"content-security-policy", b"cross-origin-resource-policy",
    b"date", b"link", b"location", b"refresh", b"server", b"service-worker-allowed",
    b"set-cookie", b"strict-transport-security", b"www-authenticate", b"x-content-type-options",
}  # fmt: skip
_OURS: Final = (b"access-control-", b"x-magi-")
_CONTENT_LENGTH: Final = frozenset({b"content-length"})


def to_server(headers: Iterable[Header], api_key: str) -> list[Header]:
    """Return what a server gets of a client's headers; its Host and length are not among it."""
    headers = list(headers)
    dropped = REQUEST_ONLY | _named_by_connection(headers)
    passed = [header for header in headers if header[0] not in dropped]
    passed.append((b"authorization", b"Bearer " + api_key.encode()))
    passed.append((b"accept-encoding", b"identity"))
    return passed


def to_client(headers: list[Header], *, has_length: bool) -> list[Header]:
    """Return what a client gets of a server's headers.

    Args:
        has_length: the body that follows is as long as the server announced.
    """
    dropped = RESPONSE_ONLY | _named_by_connection(headers)
    if not has_length:
        dropped |= _CONTENT_LENGTH
    return [
        header
        for header in headers
        if header[0] not in dropped and not header[0].startswith(_OURS)
    ]


def ours(trace: Trace) -> list[Header]:
    """Return what a client is told of who answered it, and why."""
    headers = [(b"x-magi-model", trace.model_id.encode())]
    if trace.tier:
        headers.append((b"x-magi-tier", trace.tier.encode()))
    if trace.score is not None:
        headers.append((b"x-magi-score", b"%.1f" % trace.score))
    if trace.reason:
        headers.append((b"x-magi-reason", trace.reason.encode()))
    return headers


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Return the names that a Connection header makes hop-by-hop."""
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    )
