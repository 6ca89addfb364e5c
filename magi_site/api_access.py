"""DRF's default permission: who may call the REST API."""

from typing import TYPE_CHECKING

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from magi_site.exposure import is_open

if TYPE_CHECKING:  # DRF imports this module while it imports its views
    from rest_framework.views import APIView


class MayCall(BasePermission):
    """Anybody where the API is open, else only people who may use the admin."""

    message = (
        "This call needs a staff account's session. Sign in at /admin/, or set "
        "MAGI_API_AUTH=off if whoever reaches MAGI may use it."
    )

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if is_open() or request.user.is_staff:
            return True
        raise NotAuthenticated(self.message)
