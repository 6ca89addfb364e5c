from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from magi_site.dashboard import dashboard_context


class MagiAdminSite(AdminSite):
    site_header = "MAGI"
    site_title = "MAGI"
    index_title = "Dashboard"

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().index(request, {**dashboard_context(), **(extra_context or {})})
