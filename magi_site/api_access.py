"""DRF's default permission: who may call the REST API.

A view says what it needs, and one that says nothing is closed to whom it could matter:

    scope = "infer"               of keys; otherwise `read`, or `manage` for what changes
    permission = "app.codename"   of people who are signed in, for what changes something;
                                  or by method: {"PUT": "app.codename", "GET": …}
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from magi_site.api_keys import require_scope
from magi_site.exposure import is_open
from servers_app.apikey_models import ApiKey, Scope

if TYPE_CHECKING:  # DRF imports this module while it imports its views
    from rest_framework.views import APIView

NEEDS_KEY: Final = (
    "This call needs an API key, as the header `Authorization: Bearer magi_…`, or a staff "
    "account's session. Keys are made in the admin, or with `manage.py apikey new`."
)
NEEDS_STAFF: Final = "This account is not a staff account. An administrator can make it one."


class MayCall(BasePermission):
    """Anybody where the API is open, else by a key's scopes or a person's permissions.

    A key that is sent holds where the API is open, too: it was given for less.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if isinstance(request.auth, ApiKey):
            require_scope(request.auth, scope_of(view, request.method or ""))
            return True
        if is_open():
            return True
        if not request.user.is_authenticated:
            raise NotAuthenticated(NEEDS_KEY)
        if not request.user.is_staff:
            raise PermissionDenied(NEEDS_STAFF)
        return _may(request, view)


def scope_of(view: object, method: str) -> str:
    """Return which scope a key needs for a method of a view."""
    declared: str | None = getattr(view, "scope", None)
    return declared or (Scope.READ if method in SAFE_METHODS else Scope.MANAGE)


def permission_of(view: object, method: str) -> str | None:
    """Return which permission a person needs; None where the view names none."""
    declared: str | Mapping[str, str] | None = getattr(view, "permission", None)
    if isinstance(declared, Mapping):
        return declared.get(method)
    return None if method in SAFE_METHODS else declared


def _may(request: Request, view: "APIView") -> bool:
    method = request.method or ""
    if not hasattr(view, method.lower()):
        return True  # 405 says more than 403
    needed = permission_of(view, method)
    if needed is None and method in SAFE_METHODS:
        return True
    if needed is None:  # nobody has thought of who may
        if request.user.is_superuser:
            return True
        msg = "Only a superuser may do this."
        raise PermissionDenied(msg)
    if not request.user.has_perm(needed):
        msg = f"Your account may not do this: it does not have the permission {needed}."
        raise PermissionDenied(msg)
    return True
