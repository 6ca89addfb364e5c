"""Refuse, before anything else looks at it, what no honest client sends.

A browser will carry any web page's request to a server on this machine. Such a request
names the page's site in Origin, Sec-Fetch-Site or Referer, or, when the page has its name
pointed here (DNS rebinding), a foreign Host. What an old browser names in none of them is
one that a form could send: its content type is no JSON's. All are turned away, whatever
the keys say.
"""

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from servers_app.gateway.asgi import Exchange, Receive, Scope, Send
from servers_app.gateway.errors import GatewayError
from servers_app.manager.envelope import refused

GATEWAY: Final = "/v1/"
GUARDED: Final = (GATEWAY, "/api/", "/ai/", "/metrics")  # the admin has Django's own CSRF check
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN_SITES: Final = frozenset({b"cross-site", b"same-site"})  # not this origin
# What a page may send anywhere without asking (a "simple" request of the Fetch standard);
# b"" is a body of which it says nothing.
SIMPLE_TYPES: Final = frozenset(
    {b"", b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"}
)

Headers = dict[bytes, bytes]


class RefusedError(GatewayError):
    """What is answered to a request that goes no further."""

    type = "invalid_request_error"

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as clients of that path expect it."""
        path: str = scope["path"]
        is_gateway = path.startswith(GATEWAY)
        body = self.body_for(path) if is_gateway else refused(path, self.message, self.code)
        await Exchange(scope, receive, send).answer(self.status, body)


class ForeignHostError(RefusedError):
    status = 400
    code = "host_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "This Host is not served here. Accepted hosts are listed in MAGI_ALLOWED_HOSTS."
        )


class ForeignSiteError(RefusedError):
    status = 403
    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__("Requests from web pages of other sites are refused.")


class SimpleBodyError(RefusedError):
    status = 415
    code = "unsupported_media_type"

    def __init__(self, content_type: bytes) -> None:
        named = content_type.decode("latin-1") or "no type at all"
        super().__init__(
            f"A body of {named} is not taken here: any web page could send it. "
            "Send JSON, with the header Content-Type: application/json."
        )


def refusal(scope: Scope) -> RefusedError | None:
    """Return how the request is refused, or None when it may go on."""
    headers: Headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return ForeignHostError()
    if not scope["path"].startswith(GUARDED):
        return None
    is_safe = scope["method"] in SAFE_METHODS
    if _is_foreign(headers, host, is_safe=is_safe):
        return ForeignSiteError()
    if not is_safe and (content_type := _simple_type(headers)) is not None:
        return SimpleBodyError(content_type)
    return None


def _is_foreign(headers: Headers, host: str, *, is_safe: bool) -> bool:
    """Whether a page of another site made the request."""
    origin = headers.get(b"origin")
    if origin is not None:
        return not _is_at(origin, host)
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        # A link to a page of ours may be followed from anywhere; only a browser says that.
        is_followed = is_safe and headers.get(b"sec-fetch-mode") == b"navigate"
        return site in FOREIGN_SITES and not is_followed
    referer = headers.get(b"referer")
    return not is_safe and referer is not None and not _is_at(referer, host)


def _is_at(url: bytes, host: str) -> bool:
    try:
        return urlsplit(url.decode("latin-1")).netloc.lower() == host.lower()
    except ValueError:  # [ without ]
        return False


def _simple_type(headers: Headers) -> bytes | None:
    """Return the content type of a body that any page could send; None for another."""
    content_type = headers.get(b"content-type")
    if content_type is None:
        has_body = headers.get(b"content-length", b"0") != b"0"
        if not has_body and b"transfer-encoding" not in headers:
            return None
    essence = (content_type or b"").partition(b";")[0].strip().lower()
    return essence if essence in SIMPLE_TYPES else None
