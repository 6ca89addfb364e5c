"""Who is signed in, for what is answered before Django: the gateway, and streams."""

from importlib import import_module
from io import BytesIO
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, close_old_connections
from django.http import HttpResponse
from rest_framework.authentication import CSRFCheck
from rest_framework.permissions import SAFE_METHODS

from magi_site.api_access import NEEDS_STAFF
from magi_site.api_keys import INFER_PERMISSION
from servers_app.gateway.access import Caller, user_id
from servers_app.gateway.asgi import Exchange, Scope
from servers_app.gateway.errors import GatewayError, NotAllowedError


class SessionUnknownError(GatewayError):
    status = 503
    code = "session_unknown"

    def __init__(self) -> None:
        super().__init__(
            "Whether you are signed in cannot be read from the database now. Try again soon, "
            "or send an API key, which needs no database.",
            retry_after=5,
        )


def user_of(request: ASGIRequest) -> User | AnonymousUser:
    """Return whose session a request is of. It asks the database."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return get_user(request)


def request_of(scope: Scope) -> ASGIRequest:
    """Return a request as Django has it, without its body."""
    return ASGIRequest({**scope, "headers": list(scope["headers"])}, BytesIO())


async def by_session(exchange: Exchange) -> Caller | None:
    """Return who is signed in, for the gateway; None for nobody.

    Raises:
        NotAllowedError: who is signed in may not do this, or another site's page might
            have made the request.
        SessionUnknownError: the database, which knows, is away.
    """
    if exchange.header(b"cookie") is None:
        return None
    try:
        return await sync_to_async(_caller)(exchange.scope)
    except DatabaseError as error:
        raise SessionUnknownError from error


def _caller(scope: Scope) -> Caller | None:
    request = request_of(scope)
    close_old_connections()
    try:
        user = user_of(request)
        if user.is_anonymous:
            return None
        if not user.is_staff:
            raise NotAllowedError(NEEDS_STAFF)
        if reason := _csrf_problem(request):
            message = f"CSRF Failed: {reason}"  # in DRF's words
            raise NotAllowedError(message)
        if request.method not in SAFE_METHODS and not user.has_perm(INFER_PERMISSION):
            message = (
                "Your account may not send requests to models: it does not have the "
                f"permission {INFER_PERMISSION}."
            )
            raise NotAllowedError(message)
        return Caller(user_id(user.get_username()))
    finally:
        close_old_connections()


def _csrf_problem(request: ASGIRequest) -> str | None:
    """Return why a request may be another site's; the header X-CSRFToken shows it is not."""
    check = CSRFCheck(lambda _request: HttpResponse())
    check.process_request(request)
    # DRF's check gives the reason itself, where Django's gives a page.
    reason: object = check.process_view(request, cast("Any", None), (), {})
    return None if reason is None else str(reason)
