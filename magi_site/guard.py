"""Refuse, before anything else looks at it, what no honest client sends.

A browser will carry any web page's request to a server on this machine. Such a
request names the page's site in Origin, or, when the page has its name pointed
here (DNS rebinding), a foreign Host. Both are turned away whatever the keys say.
"""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from magi_site.exposure import is_open
from servers_app.gateway.asgi import Scope, Send

GUARDED = ("/v1/", "/api/", "/ai/")  # the admin has Django's own CSRF check
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})  # Sec-Fetch-Site: not this origin


@dataclass(frozen=True, slots=True)
class Refusal:
    """A JSON error, in OpenAI's shape under /v1 and in the API's elsewhere."""

    status: int
    detail: str
    code: str
    is_openai: bool

    async def send(self, send: Send) -> None:
        error = {
            "message": self.detail,
            "type": "authentication_error" if self.status == 401 else "invalid_request_error",
            "code": self.code,
            "param": None,
        }
        body = json.dumps({"error": error} if self.is_openai else {"detail": self.detail})
        headers = [(b"content-type", b"application/json")]
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


def refusal(scope: Scope) -> Refusal | None:
    """Return how the request is refused, or None when it may go on."""
    path: str = scope["path"]
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    is_openai = path.startswith("/v1/")

    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        detail = (
            "This Host is not served here. Accepted hosts are listed in MAGI_ALLOWED_HOSTS."
        )
        return Refusal(400, detail, "host_not_allowed", is_openai)
    if path.startswith(GUARDED) and _is_foreign(scope["method"], headers, host):
        detail = "Requests from web pages of other sites are refused."
        return Refusal(403, detail, "origin_not_allowed", is_openai)
    if is_openai and not is_open():
        detail = (
            "MAGI listens beyond this machine, so calls from anywhere are refused. Set "
            "MAGI_HOST to 127.0.0.1, or MAGI_API_AUTH=off if whoever reaches it may use it."
        )
        return Refusal(401, detail, "authentication_required", is_openai)
    return None


def _is_foreign(method: str, headers: dict[bytes, bytes], host: str) -> bool:
    origin = headers.get(b"origin")
    if origin is not None:
        return urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()
    return method not in SAFE_METHODS and headers.get(b"sec-fetch-site") in FOREIGN_SITES
