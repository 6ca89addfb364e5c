"""API keys in the REST API: who calls by one, what it is for, and how often it may."""

from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from magi_site.exposure import is_open
from magi_site.groups import OPERATOR, VIEWER, permissions_of
from servers_app import apikeys
from servers_app.apikey_models import KEY_START, ApiKey, Scope
from servers_app.gateway.access import presented
from servers_app.gateway.asgi import Header
from servers_app.gateway.errors import AuthenticationError, ScopeError
from servers_app.ratelimits import RateLimiter


class KeyCaller:
    """Whoever calls by a key, where a user is expected."""

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False
    pk = None

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def __str__(self) -> str:
        return self.get_username()

    def get_username(self) -> str:
        return f"key {self._key.name}"

    def has_perm(self, permission: str, _obj: object = None) -> bool:
        """Whether it may do as much as an operator (`manage`), or as a viewer (`read`)."""
        scopes = self._key.scopes
        if permission == INFER_PERMISSION:
            return Scope.INFER in scopes
        if Scope.MANAGE in scopes:
            return permission in permissions_of(OPERATOR)
        return Scope.READ in scopes and permission in permissions_of(VIEWER)

    def has_perms(self, permissions: Iterable[str], obj: object = None) -> bool:
        return all(self.has_perm(permission, obj) for permission in permissions)


INFER_PERMISSION = "servers_app.infer"


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer magi_…`, or `X-API-Key: magi_…`."""

    def authenticate(self, request: Request) -> tuple[KeyCaller, ApiKey] | None:
        key = key_of(
            (name, request.META[variable].encode("latin-1", "replace"))
            for name, variable in (
                (b"authorization", "HTTP_AUTHORIZATION"),
                (b"x-api-key", "HTTP_X_API_KEY"),
            )
            if variable in request.META
        )
        return None if key is None else (KeyCaller(key), key)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class KeyThrottle(BaseThrottle):
    """Each key's own rate limit; together with what it calls at the gateway."""

    _wait_s: float | None = None

    def allow_request(self, request: Request, view: object) -> bool:
        self._wait_s = wait_s(request.auth) if isinstance(request.auth, ApiKey) else None
        return self._wait_s is None

    def wait(self) -> float | None:
        return self._wait_s


def key_of(headers: Iterable[Header]) -> ApiKey | None:
    """Return the key that a request brings, and note that it was used.

    None: it brings none. Where none is needed, what is no key of ours is none.

    Raises:
        AuthenticationFailed: it is not known, was revoked, or has expired.
    """
    given = presented(headers)
    if given is None:
        return None
    secret = given.decode("latin-1")
    if not secret.startswith(KEY_START):
        if is_open():
            return None
        raise AuthenticationFailed(AuthenticationError.unknown().message)
    key = apikeys.find(secret)
    if key is None:
        raise AuthenticationFailed(AuthenticationError.unknown().message)
    if key.has_expired():
        raise AuthenticationFailed(AuthenticationError.expired(key.name).message)
    apikeys.note_use(key)
    return key


def require_scope(key: ApiKey, scope: str) -> None:
    """Make sure that a key is for this.

    Raises:
        PermissionDenied: it is for something else.
    """
    if scope not in key.scopes:
        raise PermissionDenied(ScopeError(key.name, [scope]).message)


def wait_s(key: ApiKey) -> float | None:
    """Count a call by a key; return None, or in how many seconds the next one is let in."""
    if key.rate_limit_per_minute is None:
        return None
    return _limiter(settings.REDIS_URL).hit(key.prefix, key.rate_limit_per_minute)


@lru_cache(maxsize=1)
def _limiter(redis_url: str) -> RateLimiter:
    return RateLimiter(redis_url)
