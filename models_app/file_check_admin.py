"""The buttons of a model's page that have its files read, or compared with the hub's."""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from models_app.errors import ModelsError
from models_app.file_check_progress import ask, asked_checks
from models_app.file_check_service import CHECK, VERIFY
from models_app.models import DiscoveredModel
from models_app.version_page import version_rows

MAY_CHECK: Final = "models_app.change_discoveredmodel"  # as the REST calls ask for


def versions_context(request: HttpRequest, model: DiscoveredModel) -> dict[str, Any]:
    """Return what admin/models_app/discoveredmodel/versions.html shows."""
    checks = asked_checks(request.session, model.pk)
    return {
        "versions": version_rows(model),
        "file_checks": checks,
        "is_checking": any(check.is_going_on for check in checks),
        "may_check": request.user.has_perm(MAY_CHECK),
    }


def verify_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Have every byte of a model read."""
    return _ask(request, pk, VERIFY)


def hub_check_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the hub asked what it has of a model."""
    return _ask(request, pk, CHECK)


def _ask(request: HttpRequest, pk: int, what: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(MAY_CHECK):  # admin_view asks only for staff
        raise PermissionDenied
    model = get_object_or_404(DiscoveredModel.objects.select_related("root"), pk=pk)
    try:
        ask(request.session, model, what)
    except ModelsError as error:
        messages.error(request, f"Not done: {error}")
    page = reverse("admin:models_app_discoveredmodel_change", args=[pk])
    return HttpResponseRedirect(f"{page}#versions")
