"""Who may listen to what is streamed beside Django: whoever may read by the REST API."""

import time
from typing import Final

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from rest_framework.exceptions import (
    APIException,
    NotAuthenticated,
    PermissionDenied,
    Throttled,
)

from magi_site.api_access import NEEDS_KEY, NEEDS_STAFF
from magi_site.api_keys import key_of, require_scope, wait_s
from magi_site.exposure import is_open
from magi_site.sessions import request_of, user_of
from servers_app.apikey_models import ApiKey, Scope
from servers_app.gateway.access import presented
from servers_app.gateway.asgi import Exchange
from servers_app.gateway.asgi import Scope as CallScope

KEY_INTERVAL_S: Final = 1.0  # a revoked key ends its streams within that
SESSION_INTERVAL_S: Final = 15.0


class Pass:
    """By what somebody listens: it may be taken back while they do."""

    def __init__(self, scope: CallScope, interval_s: float | None) -> None:
        """Take how long it holds until it is looked at again; None: for ever."""
        self._scope = scope
        self._interval_s = interval_s
        self._looked_at = time.monotonic()

    async def holds(self) -> bool:
        """Whether its holder may be sent more. To be asked before anything is."""
        now = time.monotonic()
        if self._interval_s is None or now - self._looked_at < self._interval_s:
            return True
        self._looked_at = now
        try:
            await sync_to_async(_look)(self._scope)
        except APIException:
            return False
        return True


async def let_in(exchange: Exchange) -> Pass | None:
    """Return by what a call is let in; None: it is not, and has been answered."""
    if exchange.method != "GET":
        detail = f"{exchange.method} is not possible here. Use GET."
        await exchange.answer(405, {"detail": detail}, [(b"allow", b"GET")])
        return None
    if presented(exchange.headers) is None and is_open():
        return Pass(exchange.scope, None)
    try:
        return await sync_to_async(_admit)(exchange.scope)
    except APIException as error:
        headers = []
        if error.status_code == 401:
            headers = [(b"www-authenticate", b"Bearer")]
        elif wait := getattr(error, "wait", None):
            headers = [(b"retry-after", str(wait).encode())]
        await exchange.answer(error.status_code, {"detail": str(error.detail)}, headers)
        return None


def _admit(scope: CallScope) -> Pass:
    key = _look(scope)
    if key is None:
        return Pass(scope, None if is_open() else SESSION_INTERVAL_S)
    wait = wait_s(key)
    if wait is not None:
        raise Throttled(wait)
    return Pass(scope, KEY_INTERVAL_S)


def _look(scope: CallScope) -> ApiKey | None:
    """Return the key of a call that may read.

    Raises:
        APIException: it may not.
    """
    close_old_connections()
    try:
        return _key_or_staff(scope)
    finally:
        close_old_connections()


def _key_or_staff(scope: CallScope) -> ApiKey | None:
    key = key_of(scope["headers"])
    if key is not None:
        require_scope(key, Scope.READ)
        return key
    if is_open():
        return None
    user = user_of(request_of(scope))
    if user.is_anonymous:
        raise NotAuthenticated(NEEDS_KEY)
    if not user.is_staff:
        raise PermissionDenied(NEEDS_STAFF)
    return None
