"""On whose behalf, and with what rights, an administrative call is made."""

from typing import Final

from django.http import HttpRequest
from rest_framework.request import Request

from magi_site.exposure import is_open
from magi_site.operations.inner_calls import Caller
from servers_app.apikey_models import ApiKey

# What says who somebody is, and by which name they called; all else is the call's own.
CARRIED: Final = {
    "HTTP_AUTHORIZATION": b"authorization",
    "HTTP_X_API_KEY": b"x-api-key",
    "HTTP_COOKIE": b"cookie",
}


def caller_of(request: HttpRequest) -> Caller:
    """Return who calls, so that inner calls may do what the outer one may, and no more."""
    headers = [
        (name, str(request.META[variable]).encode("latin-1", "replace"))
        for variable, name in CARRIED.items()
        if variable in request.META
    ]
    return Caller(
        headers=((b"host", request.get_host().encode("latin-1", "replace")), *headers),
        client=(str(request.META.get("REMOTE_ADDR", "")), 0),
        server=(str(request.META["SERVER_NAME"]), int(request.META["SERVER_PORT"])),
        scheme=request.scheme or "http",
    )


def may_manage(request: Request) -> bool:
    """Whether who reads may change servers, too: then they may see where things lie."""
    if is_open() and not isinstance(request.auth, ApiKey):
        return True
    return request.user.has_perm("servers_app.change_server")
