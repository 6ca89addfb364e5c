"""The RE-SCAN button of the admin, and how what it asked for is going."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from models_app.page_before import page_before
from models_app.rescan_progress import ask_for_rescans, asked_rescans, nodes_to_scan

RESCAN = "models_app.add_scan"  # as the REST call asks for


def rescan_context(request: HttpRequest) -> dict[str, Any]:
    """Return what admin/models_app/rescans.html shows."""
    rescans = asked_rescans(request.session)
    return {"rescans": rescans, "is_scanning": any(each.is_going_on for each in rescans)}


def rescan_view(request: HttpRequest) -> HttpResponse:
    """Have every node look for models, and go back to the page that asked for it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(RESCAN):  # admin_view asks only for staff
        raise PermissionDenied
    ask_and_tell(request, nodes_to_scan())
    return HttpResponseRedirect(page_before(request, "models_app_discoveredmodel_changelist"))


def ask_and_tell(request: HttpRequest, nodes: list[str]) -> None:
    """Ask for rescans; the page tells of those that are going, a message of the others."""
    asked, troubles = ask_for_rescans(request.session, nodes)
    for node in asked:
        messages.success(request, f"Rescanning node {node}.")
    for trouble in troubles:
        messages.error(request, f"Not rescanned: {trouble}")
