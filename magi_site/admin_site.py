from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse

from magi_site.dashboard.context import dashboard_context
from magi_site.pages.urls import page_urls
from models_app.audit_models import AuditEntry
from models_app.audit_targets import target_of


class MagiAdminSite(AdminSite):
    site_header = "MAGI"
    site_title = "MAGI"
    index_title = "Dashboard"
    enable_nav_sidebar = False  # magi_site/navigation.py says where one can go

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().index(request, {**dashboard_context(request), **(extra_context or {})})

    def get_urls(self) -> list[URLPattern | URLResolver]:
        # Before each model's own page of that address, which knows of the admin's changes only.
        history = path(
            "<str:app_label>/<str:model_name>/<path:object_id>/history/",
            self.admin_view(self.history_view),
        )
        return [history, *page_urls(), *super().get_urls()]

    def history_view(
        self, request: HttpRequest, app_label: str, model_name: str, object_id: str
    ) -> HttpResponse:
        """Show what the audit has of a row: by whatever way it was changed."""
        try:
            model_admin = self.get_model_admin(apps.get_model(app_label, model_name))
        except (LookupError, NotRegistered) as error:
            raise Http404 from error
        row = model_admin.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        audit_admin = self.get_model_admin(AuditEntry)
        if not (
            model_admin.has_view_permission(request, row)
            and audit_admin.has_view_permission(request)
        ):
            raise PermissionDenied
        target = target_of(row)
        query = urlencode({"kind": target.kind, "target_id": target.id})
        page = reverse("admin:models_app_auditentry_changelist")
        return HttpResponseRedirect(f"{page}?{query}")
