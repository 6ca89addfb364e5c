"""What every page of the admin that is no list of rows has in common."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.views.generic import TemplateView


class AdminPage(TemplateView):
    """A page for those who have `permission`: the admin's own check is for staff alone.

    A subclass says which template it has, and answers `post` if something can be asked of it.
    """

    title = ""
    permission = ""  # empty: whoever may sign in

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.permission and not request.user.has_perm(self.permission):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shared = admin.site.each_context(self.request)
        return super().get_context_data(**{**shared, "title": self.title, **kwargs})


def page_url(route: str, page: type[AdminPage], name: str) -> URLPattern:
    """Return the URL of a page: `admin:NAME`, for those who are signed in as staff."""
    return path(route, admin.site.admin_view(page.as_view()), name=name)
