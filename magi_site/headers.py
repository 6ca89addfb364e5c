"""The headers by which a browser is told what it may do with a page of ours.

Of Django's own: nosniff, Referrer-Policy and Cross-Origin-Opener-Policy (SecurityMiddleware)
and X-Frame-Options. What does not come from Django has its headers in gateway/asgi.py.
"""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Final, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Respond = Callable[[HttpRequest], HttpResponseBase]
RespondLater = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

# Scripts and styles are files of ours; none stands in a page, so none can be put into one.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_NOT_NEEDED: Final = (
    "accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid",
    "magnetometer", "microphone", "midi", "payment", "serial", "usb",
)  # fmt: skip
HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Permissions-Policy", ", ".join(f"{feature}=()" for feature in _NOT_NEEDED)),
    # No other site includes what we answer as its script, image or style.
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # What Django answers is about this moment and this person; static files say otherwise.
    ("Cache-Control", "no-store"),
)


@sync_and_async_middleware
def security_headers(get_response: Respond | RespondLater) -> Respond | RespondLater:
    """Add HEADERS to every answer that does not say something else itself."""
    if iscoroutinefunction(get_response):

        async def respond_later(request: HttpRequest) -> HttpResponseBase:
            return _with_headers(await get_response(request))

        return respond_later

    def respond(request: HttpRequest) -> HttpResponseBase:
        return _with_headers(cast("Respond", get_response)(request))

    return respond


def _with_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS:
        response.headers.setdefault(name, value)
    return response
