"""The form on a model's page that has it copied to another node."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from models_app.download_asks import PULL, WHEN_BACK
from models_app.download_models import UNDER_WAY, DownloadSource
from models_app.download_page import badge, bar
from models_app.errors import ModelsError, QueueUnavailableError
from models_app.models import DiscoveredModel
from servers_app.copying import ask_copy, places_for

MAX_NODE_CHARS = 100


def copy_context(model: DiscoveredModel) -> dict[str, Any]:
    """Return what admin/models_app/discoveredmodel/copies.html shows."""
    rows = model.downloads.filter(source=DownloadSource.NODE, state__in=UNDER_WAY)
    copying = [{"row": row, "badge": badge(row), "bar": bar(row)} for row in rows]
    wanted = {row.node for row in rows}
    places = [name for name in places_for(model) if name not in wanted]
    return {"copying": copying, "copy_places": places}


def copy_view(request: HttpRequest, pk: int) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(PULL):  # admin_view asks only for staff
        raise PermissionDenied
    model = get_object_or_404(DiscoveredModel.objects.select_related("root"), pk=pk)
    node = request.POST.get("node", "")[:MAX_NODE_CHARS]
    try:
        download = ask_copy(model, node=node)
    except QueueUnavailableError as error:
        messages.warning(request, f"{error} {WHEN_BACK}")
    except ModelsError as error:
        messages.error(request, f"Not copied: {error}")
    else:
        text = f"Copying {model} from {download.from_node} to {download.node}."
        messages.success(request, text)
    page = reverse("admin:models_app_discoveredmodel_change", args=[pk])
    return HttpResponseRedirect(f"{page}#files")
